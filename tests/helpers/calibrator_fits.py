"""Fits of every calibrator on planted data, for the promises that all of them keep."""

import importlib
import warnings
from functools import cache

import pytest
import torch

from calbench.benchmark.core.registry import option_defaults
from calbench.methods import registry

NAMES = [name for name in registry if registry[name].kind == "calibrator"]
NEEDS_PACKAGE = {name: registry[name].package for name in NAMES if hasattr(registry[name], "package")}


def has_package(name="structured-vector-scaling"):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # probmetrics' use of torch.jit
            importlib.import_module(NEEDS_PACKAGE[name])
    except ImportError:
        return False
    return True


TREES = ("catboost", "lightgbm", "xgboost")
"""Half a second a fit; `test_trees` has the fast tests of them."""


NETWORKS = ("ada-ts", "calattn-frozen", "group-calibration", "h-calibration", "parameterized-ts", "sats", "smart",
            "tempnet-posthoc")  # fmt: skip
"""A tenth of a second a fit: the fast set has them once."""


def swept(slow, names=tuple(NAMES)):
    return [pytest.param(name, marks=[pytest.mark.slow] if name in slow else []) for name in names]


def one_per_family():
    """The first calibrator of each folder of calibrators, for the fast set."""
    families = {}
    for name in NAMES:
        if name not in (*TREES, *NETWORKS):
            families.setdefault(registry[name].__module__.rpartition(".")[0], name)
    return set(families.values())


def available(name):
    if name in NEEDS_PACKAGE and not has_package(name):
        pytest.skip(f"{NEEDS_PACKAGE[name]} is not installed")
    return name


def make(name, steps=10, **options):
    """A calibrator of few steps: what is tested holds after any number of them, or `steps` are given."""
    if "steps" in option_defaults(registry[name]):
        options = {"steps": steps, **options}
    return registry.create(name, **options)


def planted(rows, classes, temperature=2.5, seed=0, scale=2.0):
    """Logits whose labels come from softmax(z / temperature), and features."""
    generator = torch.Generator().manual_seed(seed)
    true = scale * torch.randn(rows, classes, generator=generator)
    labels = torch.multinomial(true.softmax(1), 1, generator=generator).squeeze(1)
    return true * temperature, labels, torch.randn(rows, 6, generator=generator)


def extra(calibrator, features):
    return {"features": features} if "features" in calibrator.needs else {}


def fitted(name, logits, labels, features, **options):
    calibrator = make(name, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return calibrator.fit(logits, labels, **extra(calibrator, features))


@cache
def shared(name, rows, classes):
    """A calibrator fitted on `planted`, for tests that do not change it."""
    return fitted(name, *planted(rows, classes))


def check_output(calibrator, logits, features):
    result = calibrator.transform(logits, **extra(calibrator, features))
    assert result.shape == logits.shape
    assert torch.isfinite(result).all()
    probabilities = calibrator.predict_proba(logits, **extra(calibrator, features))
    assert (probabilities >= 0).all()
    torch.testing.assert_close(probabilities.sum(1), torch.ones(len(logits)), atol=1e-5, rtol=0)
    return result
