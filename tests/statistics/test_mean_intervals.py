"""Intervals of means of skewed scores."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom, norm, ttest_1samp

from calbench.benchmark.metrics.intervals import mean_interval, skewed_margins
from calbench.benchmark.statistics import evaluate

SETS = 1000
FEWEST = binom.ppf(0.001, SETS, 0.95)


def draw(n, scale, rng):
    z = scale * rng.normal(size=(n, 10))
    return z, (z + rng.gumbel(size=z.shape)).argmax(1)


@pytest.fixture(scope="module")
def saturated():
    """NLLs of an overconfident model of 98 % accuracy."""
    z, y = draw(300_000, 60, np.random.default_rng(0))
    z = 3 * (z - z.max(1, keepdims=True))
    return np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), y]


def johnson(scores):
    centred = scores - scores.mean()
    spread, z = scores.std(ddof=1), norm.ppf(0.975)
    shift = (centred**3).mean() / (6 * spread**2 * len(scores)) * (1 + 2 * z**2)
    half = z * spread / len(scores) ** 0.5
    return scores.mean() + shift - half, scores.mean() + shift + half


def test_the_mean_of_an_nll_that_few_samples_decide_is_covered(saturated):
    rng, truth = np.random.default_rng(1), saturated.mean()
    sets = saturated[rng.integers(0, len(saturated), (SETS, 540))]
    covered = [low <= truth <= high for low, high in map(mean_interval, sets)]
    assert sum(covered) >= FEWEST
    assert sum(low <= truth <= high for low, high in map(johnson, sets)) < FEWEST


def test_both_sides_are_missed_alike(saturated):
    rng, truth = np.random.default_rng(2), saturated.mean()
    ends = np.array([mean_interval(one) for one in saturated[rng.integers(0, len(saturated), (SETS, 2000))]])
    for misses in ((ends[:, 0] > truth).sum(), (ends[:, 1] < truth).sum()):
        assert binom.ppf(1e-4, SETS, 0.025) <= misses <= binom.ppf(1 - 1e-4, SETS, 0.025)


@pytest.mark.parametrize("skewness", [-1.0, -0.2, 0.05, 0.4, 1.0])
def test_margins_invert_halls_transformation_of_t(skewness):
    def transformed(t):
        return t + skewness * (t**2 / 3 + 1 / 6) + skewness**2 * t**3 / 27

    down, up = skewed_margins(2.0, skewness)
    assert down == pytest.approx(brentq(lambda t: transformed(t) - 2, -40, 40))
    assert -up == pytest.approx(brentq(lambda t: transformed(t) + 2, -40, 40))


def test_without_skewness_it_is_students_interval():
    scores = np.arange(7.0)
    expected = ttest_1samp(scores, 0).confidence_interval(0.9)
    assert mean_interval(scores, 0.9) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    "scores",
    [
        [1.0, 2.0], [0.0, 0.0, 3.0], [0.1, 0.2, 0.0, 5.0, 0.3], [-4.0, 0.0, 0.0, 0.0], [0.01] * 539 + [700.0],
        np.random.default_rng(0).exponential(size=100),
    ],
)  # fmt: skip
def test_wider_levels_contain_narrower_ones_and_the_mean(scores):
    scores = np.asarray(scores)
    found = np.array([mean_interval(scores, level) for level in (0.01, 0.1, 0.5, 0.8, 0.95, 0.99, 0.9999)])
    assert (found[:, 0] <= scores.mean()).all()
    assert (found[:, 1] >= scores.mean()).all()
    assert (np.diff(found[:, 0]) <= 0).all()
    assert (np.diff(found[:, 1]) >= 0).all()
    assert np.isfinite(found).all()


def test_scores_that_are_all_equal_have_an_interval_of_no_width():
    assert mean_interval(np.full(5, 0.25)) == (0.25, 0.25)


def test_one_outlier_does_not_take_the_interval_out_of_its_range():
    p = np.tile([0.9, 0.1], (540, 1))
    p[0] = [1e-300, 1.0]
    labels = np.zeros(540, dtype=int)
    found = evaluate(probabilities=p, labels=labels, metrics=["nll", "brier", "signed-gap"], interval=0.95)
    nll = found["nll"]
    assert 0 <= nll.low < nll.value < nll.high < 10 * nll.value
    assert 0 <= found["brier"].low < found["brier"].value < found["brier"].high <= 2


@pytest.mark.slow
def test_of_right_predictions_only_a_wrong_one_may_be_missing():
    # 99.6 % of the population right, 100 samples: two of three samples have no wrong prediction
    rng, names = np.random.default_rng(3), ["nll", "brier", "signed-gap"]
    big, labels = draw(400_000, 240, rng)
    truth = evaluate(logits=big, labels=labels, metrics=names)
    sets, misses, plain = 200, dict.fromkeys(names, 0), 0
    for _ in range(sets):
        z, y = draw(100, 240, rng)
        found = evaluate(logits=z, labels=y, metrics=names, interval=0.95)
        for name in names:
            misses[name] += not found[name].low <= truth[name] <= found[name].high
        p = np.exp(z - z.max(1, keepdims=True))
        low, high = mean_interval(-np.log(p[np.arange(100), y] / p.sum(1)))
        plain += not low <= truth["nll"] <= high
    assert max(misses.values()) <= binom.ppf(0.999, sets, 0.05)
    assert plain > binom.ppf(0.999, sets, 0.05)


def test_the_rule_of_three_of_equal_predictions_is_exact():
    p = np.tile([0.9, 0.08, 0.02], (50, 1))
    names = ["signed-gap", "nll", "brier"]
    found = evaluate(probabilities=p, labels=np.zeros(50, dtype=int), metrics=names, interval=0.95)
    share = norm.ppf(0.975) ** 2 / (50 + norm.ppf(0.975) ** 2)
    for name, right, wrong in zip(
        names, [-10, -np.log(0.9), 0.0168], [90, -np.log(0.08), 0.81 + 0.92**2 + 0.0004], strict=True
    ):
        assert found[name].low == pytest.approx(right, rel=1e-5)
        assert found[name].high == pytest.approx(right + share * (wrong - right), rel=1e-5)


def test_certain_predictions_that_are_all_right():
    found = evaluate(
        probabilities=np.eye(2)[[0, 1, 0]], labels=[0, 1, 0], metrics=["nll", "brier", "signed-gap"], interval=0.95
    )
    assert (found["nll"].low, found["nll"].high) == (0, 0)  # a wrong one would have an infinite NLL
    assert found["brier"].high == pytest.approx(2 * norm.ppf(0.975) ** 2 / (3 + norm.ppf(0.975) ** 2))
    assert found["signed-gap"].high == pytest.approx(50 * found["brier"].high)
    # logits so far apart that the second class's probability underflows
    nll = evaluate(logits=[[900.0, 0.0], [0.0, 800.0]], labels=[0, 1], metrics=["nll"], interval=0.95)["nll"]
    assert nll.value == 0
    assert 500 < nll.high < 800


@pytest.mark.parametrize("interval", [None, 0.95])
def test_probabilities_given_as_logits_are_warned_of_with_and_without_intervals(interval):
    with pytest.warns(UserWarning, match="as probabilities do"):
        evaluate(logits=np.full((20, 2), 0.5), labels=np.arange(20) % 2, metrics=["accuracy"], interval=interval)
