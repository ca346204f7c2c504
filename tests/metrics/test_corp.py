"""The CORP decomposition against isotonic regression by scikit-learn in float64."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import log_loss

from calbench.benchmark.metrics import evaluate, registry

PARTS = ("mcb", "dsc", "unc")
NAMES = {score: (score, *(f"{score}-{part}" for part in PARTS)) for score in ("top-brier", "top-nll")}
RNG = np.random.default_rng(0)


def models():
    z = 2 * RNG.normal(size=(3000, 5))
    labels = (z + RNG.gumbel(size=z.shape)).argmax(1)
    yield "calibrated", z, labels
    yield "over-confident", 3 * z, labels
    yield "under-confident", 0.4 * z, labels
    yield "coarse, with ties", np.round(z), labels
    yield "few", z[:7], labels[:7]


def independent(z, labels):
    """The scores and their parts with scikit-learn's isotonic regression."""
    p = softmax(z, axis=1)
    confidence, correct = p.max(1), (p.argmax(1) == labels).astype(float)
    fitted = IsotonicRegression(y_min=0, y_max=1).fit(confidence, correct).predict(confidence)
    constant = np.full_like(confidence, correct.mean())
    scores = {
        "top-brier": lambda forecast: ((forecast - correct) ** 2).mean(),
        "top-nll": lambda forecast: log_loss(correct, forecast, labels=[0, 1]),
    }
    expected = {}
    for name, score in scores.items():
        plain, recalibrated, reference = score(confidence), score(fitted), score(constant)
        expected |= dict(
            zip(NAMES[name], (plain, plain - recalibrated, reference - recalibrated, reference), strict=True)
        )
    return expected


@pytest.mark.parametrize(("z", "labels"), [pytest.param(z, y, id=name) for name, z, y in models()])
def test_parts_are_those_of_an_independent_isotonic_regression(z, labels):
    expected = independent(z, labels)
    assert evaluate(logits=z, labels=labels, metrics=list(expected)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("score", list(NAMES))
@pytest.mark.parametrize(("z", "labels"), [pytest.param(z, y, id=name) for name, z, y in models()])
def test_the_score_is_miscalibration_minus_discrimination_plus_uncertainty(z, labels, score):
    total, mcb, dsc, unc = evaluate(logits=z, labels=labels, metrics=NAMES[score]).values()
    assert total == pytest.approx(mcb - dsc + unc, abs=1e-12)
    assert min(mcb, dsc, unc) >= -1e-12


def test_miscalibration_is_what_a_temperature_changes_and_discrimination_is_not():
    z = 2 * RNG.normal(size=(5000, 2))  # with two classes a temperature keeps the order of the confidences
    labels = (z + RNG.gumbel(size=z.shape)).argmax(1)
    plain, sharp = (evaluate(logits=t * z, labels=labels, metrics=NAMES["top-nll"]) for t in (1, 4))
    assert sharp["top-nll-dsc"] == pytest.approx(plain["top-nll-dsc"], abs=1e-12)
    assert sharp["top-nll-mcb"] > 10 * plain["top-nll-mcb"]


def test_a_saturated_model_has_a_finite_log_score():
    z = np.array([[60.0, 0.0], [50.0, 0.0], [0.0, 1.0], [0.0, 2.0]], dtype=np.float32)
    found = evaluate(logits=z, labels=np.array([0, 1, 1, 0]), metrics=NAMES["top-nll"])
    assert found["top-nll"] == pytest.approx((0 + 50 + np.log1p(np.exp(-1)) + 2 + np.log1p(np.exp(-2))) / 4, rel=1e-6)


def test_every_part_is_described_and_only_scores_and_uncertainty_have_intervals():
    for names in NAMES.values():
        for name in names:
            assert registry[name].decimals == 4
            assert (registry[name].sampling == "none") == (name.endswith(("mcb", "dsc")))
            assert registry[name].sampling != "none" or "isotonic" in registry[name].no_interval
