"""The noise floor against direct simulation and against the exact mean."""

import numpy as np
import pytest

from calbench.benchmark.metrics import evaluate
from calbench.benchmark.statistics import noise_floor


def test_noise_floor_is_the_ece_of_labels_drawn_from_the_model():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(500, 4)) * 2
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    drawn = []
    for _ in range(400):
        labels = (p.cumsum(1) > rng.random((500, 1))).argmax(1)
        drawn.append(evaluate(probabilities=p, labels=labels, metrics=["ece"])["ece"])
    floor = noise_floor(logits=z, draws=2000)
    assert floor.mean == pytest.approx(np.mean(drawn), rel=0.05)
    assert floor.q95 == pytest.approx(np.quantile(drawn, 0.95), rel=0.06)


def test_one_bin_has_the_exact_mean():
    # 400 draws of a fair coin: the mean of |k - 200| / 400
    k = np.arange(401)
    from scipy.stats import binom

    exact = 100 * (binom.pmf(k, 400, 0.5) * abs(k - 200)).sum() / 400
    assert noise_floor(confidences=np.full(400, 0.5), draws=20000).mean == pytest.approx(exact, rel=0.02)


def test_seed_bins_and_inputs():
    p = np.random.default_rng(0).dirichlet(np.ones(3), 200)
    assert noise_floor(probabilities=p, seed=1) == noise_floor(confidences=p.max(1), seed=1)
    assert noise_floor(probabilities=p, seed=1) != noise_floor(probabilities=p, seed=2)
    assert noise_floor(probabilities=p, bins=5).mean < noise_floor(probabilities=p, bins=50).mean
    values = evaluate(probabilities=p, labels=np.zeros(200), metrics=["noise-floor", "noise-floor-95"])
    floor = noise_floor(probabilities=p)
    assert values == {"noise-floor": floor.mean, "noise-floor-95": floor.q95}


def test_certain_confidences_have_no_noise():
    assert noise_floor(confidences=np.ones(10)).q95 == 0


@pytest.mark.parametrize("bad", [[], [[0.5]], [1.5], [np.nan]])
def test_bad_confidences(bad):
    with pytest.raises(ValueError, match="confidences must be"):
        noise_floor(confidences=bad)


def test_needs_exactly_one_input():
    with pytest.raises(ValueError, match="give one of"):
        noise_floor()
    with pytest.raises(ValueError, match="give one of"):
        noise_floor(logits=[[0.0, 1.0]], confidences=[0.5])
