"""Metrics of predicted probabilities: exact to the definition, in one blocked pass over the predictions.

    from calbench.benchmark.metrics import evaluate
    evaluate(logits=z, labels=y)

A metric is a registered class: ``registry.create("ece", bins=20)(logits=z, labels=y)``. Every module of this package is
imported, so that a metric needs no entry in any list.
"""

from calbench.benchmark.core.discovery import import_declarations
from calbench.benchmark.metrics.base import Metric, register, registry
from calbench.benchmark.metrics.diagram import ReliabilityBin, reliability
from calbench.benchmark.metrics.evaluation import PANEL, evaluate
from calbench.benchmark.metrics.ood import OODMetric, evaluate_ood

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

import_declarations(__name__, __path__)
