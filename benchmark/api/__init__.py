"""calbench: compare probability-calibration methods for image classifiers under one protocol.

    import calbench as cb

    cb.evaluate(logits=z, labels=y)                    # accuracy, NLL, Brier, ECE and others
    ts = cb.TemperatureScaling().fit(z_cal, y_cal)     # every method, dataset, backbone and metric by its class name
    cb.compare({"TS": ts}, logits=z, labels=y)         # a leaderboard of fitted calibrators, as Results
    results = cb.run("quick"); results.leaderboard()   # train, evaluate and compare a suite

Everything is imported when it is first used, so that ``import calbench`` takes milliseconds. Editors and type checkers
read the names in ``__init__.pyi``, which ``docs/stub.py`` writes.
"""

import importlib
import importlib.metadata
from collections.abc import Iterator
from typing import Any

_PUBLIC = {
    "Calibrator": "calbench.methods",
    "InputError": "calbench.benchmark.core.errors",
    "Results": "calbench.benchmark.results.results",
    "compare": "calbench._interface",
    "evaluate": "calbench.benchmark.statistics",
    "evaluate_ood": "calbench.benchmark.metrics",
    "load_suite": "calbench.benchmark.config.suite",
    "read_predictions": "calbench.benchmark.predictions.files",
    "register_dataset": "calbench.datasets:register",
    "register_method": "calbench.methods:register",
    "register_metric": "calbench.benchmark.metrics:register",
    "register_backbone": "calbench.benchmark.backbones:register",
    "reliability_diagram": "calbench._diagram",
    "run": "calbench._interface",
}
"""Public functions and base classes, and where they are defined (``module:name`` where the name differs)."""

_REGISTRIES = ("calbench.methods", "calbench.datasets", "calbench.benchmark.metrics", "calbench.benchmark.backbones")
"""The packages whose declared classes are public under their class names."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used; declared classes are found by their class names."""
    if name == "__version__":
        return importlib.metadata.version("calbench")
    if name in _PUBLIC:
        module, _, original = _PUBLIC[name].partition(":")
        value = getattr(importlib.import_module(module), original or name)
    elif name[:1].isupper():
        value = _declared(name)
    else:
        raise AttributeError(f"module 'calbench' has no attribute {name!r}")
    globals()[name] = value
    return value


def _classes() -> Iterator[type]:
    """All declared classes that a module names; those made in a function, such as one per OOD score, are left out."""
    for package in _REGISTRIES:
        registry = importlib.import_module(package).registry
        yield from (registry[key] for key in registry if registry[key].__qualname__ == registry[key].__name__)


def _declared(name: str) -> type:
    """The declared method, dataset, metric or backbone with this class name."""
    for declared in _classes():
        if declared.__name__ == name:
            return declared
    raise AttributeError(f"module 'calbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    """All public names, those of the declared classes included."""
    return sorted({"__version__", *_PUBLIC, *(declared.__name__ for declared in _classes())})
