"""Changes and reductions of means of skewed scores."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from calbench.benchmark.statistics.block import Block
from calbench.benchmark.statistics.contrast import Side, difference, ratio_interval
from calbench.benchmark.statistics.seed_value import SeedValue
from calbench.benchmark.statistics.skewed import skewed, skewed_ratio_interval

NAN = float("nan")
SIZE, REPLICATES = 600, 400


def rare_errors(n, rng):
    """The NLL of each sample under two models with an accuracy of 98 %; the second has three times the logits."""
    z = 60 * rng.normal(size=(n, 10))
    y = (z + rng.gumbel(size=z.shape)).argmax(1)
    z -= z.max(1, keepdims=True)
    return [np.log(np.exp(t * z).sum(1)) - t * z[np.arange(n), y] for t in (1, 3)]


def seed_value(scores, counts):
    return SeedValue(scores.mean(), NAN, NAN, NAN, NAN, len(scores), "", counts @ scores)


def test_changes_of_an_nll_that_few_samples_decide_are_covered():
    rng = np.random.default_rng(0)
    population = np.stack(rare_errors(200_000, rng))
    calm, sharp = population.mean(axis=1)
    counts = np.stack([np.bincount(rng.integers(0, SIZE, SIZE), minlength=SIZE) for _ in range(REPLICATES)]) / SIZE
    sets, covered, equal_margins, reductions = 800, 0, 0, 0
    for _ in range(sets):
        first, second = population[:, rng.integers(0, population.shape[1], SIZE)]
        values = {"calm": {0: seed_value(first, counts)}, "sharp": {0: seed_value(second, counts)}}
        row = Block("nll", values, "sharp", {}).change("calm")
        covered += row["change_low"] <= calm - sharp <= row["change_high"]
        reductions += row["reduction_low"] <= 100 * (1 - calm / sharp) <= row["reduction_high"]
        margin = 1.96 * (counts @ (first - second)).std()
        equal_margins += abs(first.mean() - second.mean() - (calm - sharp)) <= margin
    assert covered >= binom.ppf(0.001, sets, 0.95)
    assert reductions >= binom.ppf(0.001, sets, 0.93)
    assert equal_margins < binom.ppf(0.001, sets, 0.93)


def side(replicates, mean):
    margin = 1.96 * replicates.std()
    return Side(np.array([mean]), np.array([margin]), np.array([margin]), replicates[None])


def test_without_skewness_margins_are_equal():
    rng = np.random.default_rng(1)
    drawn = rng.normal(size=2000)
    drawn = np.concatenate([drawn, -drawn])  # exactly symmetric
    first, second = side(drawn + 5, 5.0), side(0.5 * drawn[::-1] + 3, 3.0)
    assert difference(*skewed(first, second)).interval() == pytest.approx(difference(first, second).interval())
    assert skewed_ratio_interval(first, second) == pytest.approx(ratio_interval(first, second))


def test_margins_are_longer_towards_the_missing_samples_and_follow_the_order():
    drawn = np.random.default_rng(2).gamma(4, size=4000)
    heavy, light = side(drawn, 4.0), side(np.random.default_rng(3).normal(size=4000), 3.0)
    contrast = difference(*skewed(heavy, light))
    assert contrast.upper > 1.2 * contrast.lower
    turned = difference(*skewed(light, heavy))
    assert (turned.lower, turned.upper) == pytest.approx((contrast.upper, contrast.lower))


@pytest.mark.parametrize("mean", [0.5, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_ratio_excludes_one_where_its_difference_excludes_zero(mean, swapped):
    rng = np.random.default_rng(4)
    heavy, light = side(rng.gamma(2, size=1000) * mean / 5, mean), side(0.1 * rng.normal(size=1000), 2.0)
    first, second = (light, heavy) if swapped else (heavy, light)
    low, high = skewed_ratio_interval(first, second)
    assert low <= first.mean / second.mean <= high
    ends = difference(*skewed(first, second)).interval()
    assert (low <= 1 <= high) == (ends[0] <= 0 <= ends[1])


def test_a_divisor_shorter_than_its_margin_still_gives_an_upper_end():
    # three heavy samples in the first: the margins of the difference are longer than the second's mean
    rng = np.random.default_rng(5)
    drawn = rng.poisson(1, size=2000) / 1.0
    first, second = side(drawn, 1.0), side(0.1 + 0.03 * drawn, 0.1)
    assert np.isnan(ratio_interval(*skewed(first, second))).all()
    low, high = skewed_ratio_interval(first, second)
    assert 0 <= low < 10 < high < np.inf
    again = skewed_ratio_interval(replace(first, values=np.array([0.0])), second)
    assert np.isnan(again).all()
