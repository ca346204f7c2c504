"""The confidence set for the best entry of a table."""

import numpy as np
import pytest
from scipy.stats import t, ttest_rel

from calbench.benchmark.statistics.best import best_p_values, harmonic_mean_p
from calbench.benchmark.statistics.block import Block
from calbench.benchmark.statistics.contrast import Contrast
from calbench.benchmark.statistics.seed_value import SeedValue

RNG = np.random.default_rng(0)


def test_the_harmonic_mean_has_its_level_for_independent_and_for_equal_p_values():
    uniform = RNG.uniform(size=(1500, 8))
    independent = np.array([harmonic_mean_p(row) for row in uniform])
    assert 0.03 < (independent <= 0.05).mean() < 0.07  # three standard errors and more
    equal = np.array([harmonic_mean_p(np.full(8, p)) for p in uniform[:, 0]])
    assert 0.02 < (equal <= 0.05).mean() < 0.055


def test_agreement_costs_little_and_one_small_p_value_costs_the_number_of_entries():
    assert harmonic_mean_p(np.full(11, 0.01)) == pytest.approx(0.01, rel=0.3)  # Holm: 0.11
    assert harmonic_mean_p(np.array([0.001] + [0.5] * 10)) == pytest.approx(0.011, rel=0.3)
    assert harmonic_mean_p(np.array([0.2])) == 0.2
    assert np.isnan(harmonic_mean_p(np.array([])))


def test_two_entries_have_the_one_sided_p_value_of_a_paired_t_test():
    rows = table({"first": RNG.normal(1, 0.1, 4), "second": RNG.normal(1.1, 0.1, 4)})
    first, second = (np.array([v.value for v in entry.values()]) for entry in rows.values())
    found = {row["entry"]: row["p_best"] for row in Block("accuracy", rows, "first", {}).rows()}
    worse = ttest_rel(first, second, alternative="less").pvalue  # of accuracy, less is worse
    assert found["first"] == pytest.approx(worse, rel=0.02)
    assert found["second"] == pytest.approx(1 - worse, rel=0.02)


def test_an_entry_far_from_all_others_is_not_the_best_with_three_seeds():
    # the NLLs of the quick suite on digits / swin-micro: every run of the last entry is three times as bad or more
    values = {
        "mixup": [0.429, 0.41, 0.381], "cross-entropy": [0.433, 0.381, 0.401], "vector": [0.399, 0.396, 0.393],
        "temperature": [0.427, 0.374, 0.396], "calattn": [2.212, 1.236, 4.81],
    }  # fmt: skip
    rows = Block("nll", table(values), "cross-entropy", {}).rows()
    bold = {row["entry"]: row["tied_with_best"] for row in rows}
    # temperature scaling betters the same cross-entropy network with every seed
    assert bold == {"mixup": True, "cross-entropy": False, "vector": True, "temperature": True, "calattn": False}


def test_a_logarithm_decides_for_a_metric_without_upper_bound():
    values = {"steady": [0.40, 0.41, 0.39], "astray": [1.2, 2.2, 4.8]}
    rows = Block("nll", table(values), "steady", {}).rows()
    ratios = np.log(values["astray"]) - np.log(values["steady"])
    expected = t.sf(ratios.mean() / (ratios.std(ddof=1) / np.sqrt(3)), 2)
    assert rows[1]["p_best"] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_each_of_equal_entries_keeps_its_place_however_unequal_their_spreads(seeds):
    rng, spreads, lost = np.random.default_rng(seeds), np.geomspace(0.02, 0.5, 8), np.zeros(8)
    for _ in range(60):
        values = dict(zip("abcdefgh", 1 + spreads[:, None] * rng.normal(size=(8, seeds)), strict=True))
        found = best_p_values(list(values), lambda first, second, values=values: paired(values[first], values[second]))
        lost += np.array([p <= 0.05 for p in found.values()])
    # 480 tests at 5 %; clustered in 60 tables, a share above 10 % would be five standard errors away
    assert lost.sum() / 480 < 0.1


def test_what_cannot_be_compared_has_no_p_value():
    assert np.isnan(best_p_values(["a", "b"], lambda first, second: None)["a"])
    assert best_p_values(["a"], lambda first, second: None) == {"a": 1.0}


def paired(first, second):
    difference = first - second
    return Contrast(difference.mean(), 0.0, 0.0, difference.std(ddof=1) / np.sqrt(len(difference)), len(difference))


def table(values):
    """Values over seeds with next to no sampling error."""
    unknown = float("nan")
    return {
        entry: {
            seed: SeedValue(
                value, value - 1e-6, value + 1e-6, unknown, unknown, unknown, "", value + 1e-6 * RNG.normal(size=50)
            )
            for seed, value in enumerate(by_seed)
        }
        for entry, by_seed in values.items()
    }
