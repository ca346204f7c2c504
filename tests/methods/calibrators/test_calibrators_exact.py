"""Beta's optimum, ENIR and the order of rows, accuracy that is kept, weights, sizes, probabilities as logits."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from calibrator_fits import NETWORKS, TREES, swept
from scipy.optimize import minimize
from scipy.special import log_softmax

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import option_defaults
from calbench.benchmark.metrics import evaluate
from calbench.methods import registry
from calbench.methods.solvers import matrix_fit

CALIBRATORS = [name for name in registry if registry[name].kind == "calibrator"]


def sample(rows=600, classes=4, temperature=2.5, seed=0):
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(rows, classes)) * 2
    return temperature * true, (true + rng.gumbel(size=true.shape)).argmax(1)


def quiet_fit(calibrator, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return calibrator.fit(*args, **kwargs)


@pytest.mark.parametrize(("temperature", "seed"), [(2.5, 0), (0.5, 1), (12.0, 2), (1.0, 3)])
def test_beta_reaches_the_optimum_of_every_class(temperature, seed):
    logits, labels = sample(temperature=temperature, seed=seed)
    calibrator = registry.create("beta").fit(logits, labels)
    log_p = log_softmax(logits / calibrator.unit_, axis=1)
    for k, found in enumerate(calibrator.coefficients_.numpy()):
        hits = labels == k
        x, y = log_p[:, k], -np.log(-np.expm1(log_p[:, k]))

        def loss(w, x=x, y=y, hits=hits):
            scores = w[0] * x + w[1] * y + w[2]
            return np.logaddexp(0, np.where(hits, -scores, scores)).mean()

        starts = ([1.0, 1.0, 0.0], [0.1, 0.1, -1.0])
        options = {"bounds": [(0, None), (0, None), (None, None)], "method": "L-BFGS-B"}
        tight = {"ftol": 1e-14, "gtol": 1e-10, "maxiter": 5000}
        best = min(minimize(loss, start, options=tight, **options).fun for start in starts)
        assert (found[:2] >= 0).all()
        assert loss(found) <= best + 1e-7


def test_enir_is_blind_to_the_order_of_equal_probabilities():
    rng = np.random.default_rng(0)
    logits = np.round(rng.normal(size=(300, 3)), 1)[rng.integers(0, 40, 300)]  # every row about seven times
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1)
    order = rng.permutation(300)
    first = registry.create("enir").fit(logits, labels)
    second = registry.create("enir").fit(logits[order], labels[order])
    np.testing.assert_array_equal(first.transform(logits), second.transform(logits))


def hard_logits():
    """Labels that are chance, and logits of which many differ from their largest by one bit, in float32."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(800, 6)).astype(np.float32) * 3
    logits[::2, 3] = np.nextafter(logits[::2].max(1), np.float32(np.inf))
    return logits, rng.integers(0, 6, 800)


@pytest.mark.parametrize(
    "name", swept((*TREES, *NETWORKS), [name for name in CALIBRATORS if registry[name].keeps_accuracy])
)
def test_what_keeps_the_accuracy_keeps_every_prediction(name):
    logits, labels = hard_logits()
    options = {"steps": 30} if "steps" in option_defaults(registry[name]) else {}
    calibrator = registry.create(name, **options)
    extra = {"features": logits[:, :3]} if "features" in calibrator.needs else {}
    for scale in (1e-3, 1.0, 1e3):
        scaled = logits * np.float32(scale)
        fitted = quiet_fit(calibrator, scaled, labels, **extra)
        np.testing.assert_array_equal(fitted.transform(scaled, **extra).argmax(1), scaled.argmax(1))


def test_the_uniform_part_of_ensemble_ts_is_bounded():
    logits, labels = hard_logits()
    found = quiet_fit(registry.create("ensemble-ts"), logits, labels).weights_
    assert found[2] <= 0.99 + 1e-9
    assert float(found.sum()) == pytest.approx(1)


WEIGHTED = ("temperature-scaling", "ensemble-ts", "vector-scaling", "bias-corrected-ts", "beta", "isotonic")


@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_count_as_repetitions(name):
    logits, labels = sample(rows=300)
    counts = np.random.default_rng(1).integers(0, 4, len(labels))
    weighted = registry.create(name).fit(logits, labels, sample_weight=counts)
    repeated = registry.create(name).fit(logits.repeat(counts, 0), labels.repeat(counts))
    np.testing.assert_allclose(weighted.predict_proba(logits), repeated.predict_proba(logits), atol=2e-4)


def test_weights_are_checked():
    logits, labels = sample(rows=50)
    for weights, message in (
        (np.ones(49), "shape"),
        (-np.ones(50), "negative"),
        (np.zeros(50), "above zero"),
        (np.full(50, np.nan), "finite"),
    ):
        with pytest.raises(ValueError, match=message):
            registry.create("temperature-scaling").fit(logits, labels, sample_weight=weights)
    with pytest.raises(TypeError, match="tempnet-posthoc: .*sample_weight"):
        registry.create("tempnet-posthoc").fit(logits, labels, sample_weight=np.ones(50))


@pytest.mark.parametrize("name", [n for n in CALIBRATORS if "max_classes" in option_defaults(registry[n])])
def test_too_many_classes_are_refused_with_the_option_that_fits_them(name):
    if hasattr(registry[name], "package"):
        pytest.importorskip(registry[name].package)
    logits, labels = sample(rows=200, classes=5)
    with pytest.raises(InputError, match=rf"{name} .*: 5 classes are more than max_classes=4.*max_classes=5\)"):
        registry.create(name, max_classes=4).fit(logits, labels)
    quiet_fit(registry.create(name, max_classes=5), logits, labels)


@pytest.mark.filterwarnings("ignore:the model separates the calibration split")
def test_probabilities_given_as_logits_are_warned_of():
    logits, labels = sample()
    probabilities = torch.from_numpy(logits).softmax(1).numpy()
    for scores in (probabilities, probabilities.astype(np.float32), np.eye(4)[labels]):
        with pytest.warns(UserWarning, match="as probabilities do"):
            registry.create("temperature-scaling").fit(scores, labels)
        with pytest.warns(UserWarning, match="as probabilities do"):
            evaluate(logits=scores, labels=labels, metrics=["ece"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evaluate(logits=logits, labels=labels)
        evaluate(probabilities=probabilities, labels=labels)
        evaluate(logits=np.log(probabilities), labels=labels)
        registry.create("temperature-scaling").fit(np.log(probabilities), labels)


def test_dirichlet_warns_of_no_excess_that_does_not_matter():
    for seed in range(6):
        logits, labels = sample(rows=150 + 60 * seed, classes=6, temperature=1 + seed, seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            registry.create("dirichlet", off_diagonal=10.0 ** (-seed), intercept=0.1).fit(logits, labels)


@pytest.mark.parametrize(("excess", "warned"), [(2e-8, False), (1e-5, True)])
def test_dirichlet_accepts_an_excess_of_2e8_nats_and_warns_of_a_larger_one(monkeypatch, excess, warned):
    logits, labels = sample(rows=200, classes=3)
    solve = matrix_fit.minimise

    def stopped(*args, **kwargs):
        return replace(solve(*args, **kwargs), excess=excess, converged=False)

    monkeypatch.setattr(matrix_fit, "minimise", stopped)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        registry.create("dirichlet", off_diagonal=0.1, intercept=0.1).fit(logits, labels)
    assert any("stopped short" in str(one.message) for one in caught) == warned


def test_probabilities_of_many_classes_sum_to_one():
    logits = (np.random.default_rng(0).normal(size=(60, 20_000)) * 3).astype(np.float32)
    labels = logits.argmax(1)
    for name in ("temperature-scaling", "isotonic"):
        found = quiet_fit(registry.create(name), logits, labels).predict_proba(logits)
        assert found.dtype == np.float32
        assert np.abs(found.astype(np.float64).sum(1) - 1).max() < 1e-6
