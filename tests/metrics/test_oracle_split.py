"""The split of the KL divergence from the truth."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, rel_entr, softmax

from calbench.benchmark.metrics import evaluate
from calbench.benchmark.statistics import bootstrap

NAMES = ["oracle-kl", "oracle-kl-refinement", "oracle-kl-calibration"]
RNG = np.random.default_rng(0)
TRUE = 2 * RNG.normal(size=(800, 4))
LABELS = (TRUE + RNG.gumbel(size=TRUE.shape)).argmax(1)


def split(z, **changes):
    inputs = {"logits": z, "labels": LABELS, "posterior": softmax(TRUE, axis=1), "metrics": NAMES}
    return list(evaluate(**(inputs | changes)).values())


@pytest.mark.parametrize("noise", [0.0, 0.7])
@pytest.mark.parametrize("sharpness", [0.3, 1.0, 5.0])
def test_the_refinement_is_the_least_divergence_over_temperatures(sharpness, noise):
    z = sharpness * (TRUE + noise * np.random.default_rng(1).normal(size=TRUE.shape))
    q = softmax(TRUE, axis=1)

    def divergence(inverse):
        return rel_entr(q, np.exp(log_softmax(inverse * z, axis=1))).sum(axis=1).mean()

    least = minimize_scalar(divergence, bracket=(0.5 / sharpness, 1 / sharpness)).fun
    assert split(z) == pytest.approx([divergence(1), least, divergence(1) - least], abs=1e-8)


def test_a_temperature_moves_calibration_and_not_refinement():
    z = TRUE + 0.5 * RNG.normal(size=TRUE.shape)
    (_, plain, small), (_, sharp, large) = split(z), split(6 * z)
    assert sharp == pytest.approx(plain, abs=1e-8)
    assert large > 5 * small


def test_probabilities_give_the_same_and_a_zero_gives_infinity():
    z = TRUE + 0.5 * RNG.normal(size=TRUE.shape)
    assert split(None, probabilities=softmax(z, axis=1)) == pytest.approx(split(z), abs=1e-6)
    p = np.tile([0.5, 0.5, 0.0, 0.0], (len(TRUE), 1))
    assert np.isinf(split(None, probabilities=p)[:2]).all()


def test_resamples_scatter_around_the_value():
    z = TRUE + 0.5 * RNG.normal(size=TRUE.shape)
    q = softmax(TRUE, axis=1)
    drawn = bootstrap(logits=z, labels=LABELS, posterior=q, metrics=NAMES, replicates=100)
    for name, value in zip(NAMES, split(z), strict=True):
        assert abs(drawn[name].mean() - value) < 4 * drawn[name].std() / 10
