"""The magnitude of the logits, and classes masked by a large negative logit, change no fit."""

import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.exceptions import ConvergenceWarning
from torch.nn import functional

from calbench.benchmark.metrics import evaluate
from calbench.methods import registry
from calbench.methods.solvers.newton import optimal_temperature
from calbench.methods.solvers.nll import slope_and_curvature, typical_gap

SCALES = (1e-4, 1e-2, 0.3, 7.0, 1e4)
MASKS = (-1e3, -1e4, -1e30)


def sample(rows=400, classes=5, temperature=1.8, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(rows, classes)) * 2
    return temperature * true, (true + rng.gumbel(size=true.shape)).argmax(1)


def best_temperature(logits, labels):
    """By a bounded search of scipy, in float64."""

    def nll(log_t):
        return functional.cross_entropy(torch.from_numpy(logits / np.exp(log_t)), torch.from_numpy(labels)).item()

    return np.exp(minimize_scalar(nll, bounds=(-12, 12), method="bounded", options={"xatol": 1e-9}).x)


def fit(name, logits, labels, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return registry.create(name, **options).fit(logits, labels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scaling_the_logits_scales_the_temperature(dtype):
    logits, labels = sample()
    base = fit("temperature-scaling", logits.astype(dtype), labels).temperature_
    assert base == pytest.approx(best_temperature(logits, labels), rel=1e-5)
    for scale in SCALES:
        found = fit("temperature-scaling", (scale * logits).astype(dtype), labels).temperature_
        assert found / scale == pytest.approx(base, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mask", [*MASKS, -3e38])
def test_masked_classes_change_no_temperature(dtype, mask):
    logits, labels = sample()
    base = fit("temperature-scaling", logits.astype(dtype), labels).temperature_
    for number in (1, 20):
        masked = np.concatenate([np.full((len(logits), number), mask), logits], axis=1).astype(dtype)
        with pytest.warns(UserWarning, match="no calibration row of class"):
            calibrator = registry.create("temperature-scaling").fit(masked, labels + number)
        assert calibrator.temperature_ == pytest.approx(base, abs=1e-6)


def test_logits_masked_row_by_row_are_fitted_to_the_optimum():
    logits, labels = sample(rows=600)
    hidden = np.random.default_rng(1).random(logits.shape) < 0.4
    hidden[np.arange(len(labels)), labels] = False
    for mask in MASKS:
        found = fit("temperature-scaling", np.where(hidden, mask, logits), labels).temperature_
        assert found == pytest.approx(best_temperature(np.where(hidden, -1e4, logits), labels), rel=1e-5)


def test_logarithms_of_probabilities_that_underflow_are_fitted_to_the_optimum():
    logits, labels = sample(temperature=40.0)
    logs = np.log(functional.softmax(torch.from_numpy(logits).float(), dim=1).double().numpy() + 1e-300)
    found = fit("temperature-scaling", logs, labels).temperature_
    assert found == pytest.approx(best_temperature(logs, labels), rel=1e-4)


def test_an_outlying_true_class_is_named_where_it_bounds_the_temperature():
    logits, labels = sample()
    logits[7, labels[7]] = -1e30
    with pytest.warns(ConvergenceWarning, match="below the largest logit, or more, in 1 rows: T is bounded"):
        registry.create("temperature-scaling").fit(logits, labels)


def test_a_model_with_one_small_error_is_not_called_separable():
    labels = np.arange(200) % 2
    logits = np.eye(2)[labels] * 8.0
    logits[0] = [0.0, 1e-3]
    found = fit("temperature-scaling", logits, labels).temperature_
    assert found == pytest.approx(best_temperature(logits, labels), rel=1e-4)


def test_weights_count_as_repetitions():
    logits, labels = sample()
    counts = np.random.default_rng(3).integers(0, 4, len(labels))
    repeated = optimal_temperature(torch.from_numpy(logits.repeat(counts, 0)), torch.from_numpy(labels.repeat(counts)))
    weighted = optimal_temperature(*map(torch.from_numpy, (logits, labels, counts)))
    assert weighted == pytest.approx(repeated, rel=1e-7)


def test_slopes_are_derivatives_of_the_nll_at_any_magnitude():
    logits, labels = map(torch.from_numpy, sample())
    for scale in (1e-30, 1.0, 1e30):
        beta = torch.tensor(0.7 / scale, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(functional.cross_entropy(scale * logits * beta, labels), beta)
        found, _ = slope_and_curvature(scale * logits, labels, 0.7 / scale)
        assert found / scale == pytest.approx(float(slope) / scale, rel=1e-9)


def test_the_unit_of_the_search_is_blind_to_masks():
    logits, labels = map(torch.from_numpy, sample())
    masked = torch.cat([logits, torch.full((len(logits), 3), -1e30)], dim=1)
    assert typical_gap(masked, labels) == typical_gap(logits, labels) > 0


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_the_ece_grid_follows_the_magnitude_with_a_warning(scale):
    logits, labels = sample(rows=1000, temperature=2.0)
    base = registry.create("temperature-scaling", criterion="ece").fit(logits, labels).temperature_
    with pytest.warns(ConvergenceWarning, match="outside the grid"):
        found = registry.create("temperature-scaling", criterion="ece").fit(scale * logits, labels).temperature_
    assert found == pytest.approx(scale * base)


def test_an_end_of_the_ece_grid_is_warned_of():
    logits, labels = sample(rows=1000, temperature=14.0)
    with pytest.warns(ConvergenceWarning, match="outside the grid|last point of the grid"):
        registry.create("temperature-scaling", criterion="ece").fit(logits, labels)
    with pytest.warns(ConvergenceWarning, match="first point of the grid"):
        registry.create("temperature-scaling", criterion="ece").fit(0.06 / 0.55 * logits / 14, labels)


@pytest.mark.parametrize("metric", ["nll-refinement", "brier-refinement"])
def test_refinement_is_blind_to_the_magnitude(metric):
    logits, labels = sample(rows=500)
    base = evaluate(logits=logits, labels=labels, metrics=[metric])[metric]
    for scale in (1e-4, 0.01, 100.0, 1e4):
        assert evaluate(logits=scale * logits, labels=labels, metrics=[metric])[metric] == pytest.approx(base, abs=1e-6)


def test_refinement_of_separable_samples_ends_at_zero():
    labels = np.arange(60) % 3
    found = evaluate(logits=np.eye(3)[labels] * 1e-3, labels=labels, metrics=["nll-refinement"])
    assert found["nll-refinement"] == pytest.approx(0, abs=1e-6)


CLASS_BY_CLASS = ("vector-scaling", "bias-corrected-ts", "matrix-scaling", "dirichlet", "ensemble-ts")
BY_NETWORK = ("sats", "parameterized-ts", "tempnet-posthoc")


@pytest.mark.parametrize(
    "name", [*CLASS_BY_CLASS, *(pytest.param(name, marks=pytest.mark.slow) for name in BY_NETWORK)]
)
def test_fits_are_as_good_at_any_magnitude_and_with_a_masked_class(name):
    (logits, labels), (test, test_labels) = sample(), sample(seed=1)
    options = {"steps": 60} if name in BY_NETWORK else {}

    def nll(fit_logits, test_logits):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            calibrator = registry.create(name, **options).fit(fit_logits, labels)
            return functional.cross_entropy(
                torch.from_numpy(calibrator.transform(test_logits)), torch.from_numpy(test_labels)
            ).item()

    base = nll(logits, test)
    for scale in (1e-4, 1e4):
        assert nll(scale * logits, scale * test) == pytest.approx(base, abs=0.02)
    for mask in (-1e4, -1e30):
        masked = [np.concatenate([z, np.full((len(z), 1), mask)], axis=1) for z in (logits, test)]
        assert nll(*masked) == pytest.approx(base, abs=0.02)
