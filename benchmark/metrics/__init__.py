"""Metrics of predicted probabilities: exact to the definition, in one blocked pass over the predictions.

    from calbench.benchmark.metrics import evaluate
    evaluate(logits=z, labels=y)

A metric is a registered class: ``registry.create("ece", bins=15)(logits=z, labels=y)``. Every module of this package is
imported, so that a metric is declared by its file alone.
"""

import importlib
import pkgutil

from .base import Metric, register, registry
from .diagram import ReliabilityBin, reliability
from .evaluation import PANEL, evaluate
from .ood import OODMetric, evaluate_ood

__all__ = [
    "PANEL",
    "Metric",
    "OODMetric",
    "ReliabilityBin",
    "evaluate",
    "evaluate_ood",
    "register",
    "registry",
    "reliability",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
