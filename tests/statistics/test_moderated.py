"""Variances over seeds that borrow from other cells, against limma's formulas and a simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import digamma, polygamma
from scipy.stats import f as fisher
from scipy.stats import t as student

from calbench.benchmark.statistics import compare
from calbench.benchmark.statistics.contrast import Contrast, hommel
from calbench.benchmark.statistics.moderated import Prior, Spread, priors, table_priors


def spreads(variances, seeds=3, change="a"):
    return [Spread(change, seeds, float(variance)) for variance in variances]


def test_without_a_bound_the_prior_is_that_of_smyth_2004():
    # variances are s0^2 times F(2, d0) (his equation 6); many cells, so that d0 and s0^2 can be recovered
    variances = 3.0 * fisher.rvs(2, 6.0, size=20_000, random_state=0)
    found = priors(spreads(variances), largest_share=np.inf)["a", 3]
    assert found.degrees == pytest.approx(6.0, rel=0.1)
    assert found.variance == pytest.approx(3.0, rel=0.05)
    # by his formulas: trigamma(d0 / 2) = var(e) - trigamma(d / 2), log s0^2 = mean(e) + psi(d0 / 2) - log(d0 / 2)
    e = np.log(variances) - digamma(1) + np.log(1)
    assert polygamma(1, found.degrees / 2) == pytest.approx(e.var(ddof=1) - polygamma(1, 1), rel=1e-3)
    log_variance = e.mean() + digamma(found.degrees / 2) - np.log(found.degrees / 2)
    assert np.log(found.variance) == pytest.approx(log_variance, rel=1e-6)


def test_few_cells_lend_little_and_fewer_lend_nothing():
    assert priors(spreads([1.0, 1.1])) == {}  # 2 degrees of freedom in one other cell
    assert priors(spreads([1.0, 1.1, 0.9], seeds=2)) == {}
    assert priors(spreads([1.0, 1.1, 0.9]))["a", 3].degrees == 1.0  # a quarter of 4
    assert priors(spreads([1.0, 1.1, 0.9, 1.0], seeds=5))["a", 5].degrees == 3.0


def test_cells_that_differ_lend_nearly_nothing():
    alike, unlike = (priors(spreads(v))["a", 3].degrees for v in ([1, 1.1, 0.9, 1, 1.2], [1e-4, 1, 1e3, 30, 1e-2]))
    assert alike == 2.0
    assert unlike < 0.4


def test_other_entries_that_differ_lower_the_degrees_of_all():
    steady = spreads([1, 1.1, 0.9, 1, 1.2])
    wild = spreads(10.0 ** np.arange(-6, 6), change="b")
    assert priors([*steady, *wild])["a", 3].degrees < priors(steady)["a", 3].degrees


def test_runs_without_any_spread_and_other_numbers_of_seeds_are_left_out():
    assert priors([*spreads([1.0, 1.1]), *spreads([0.0, 0.0, np.nan]), *spreads([1.0] * 5, seeds=1)]) == {}
    assert ("a", 2) not in priors([*spreads([1.0, 1.1, 0.9]), *spreads([1.0], seeds=2)])


def test_a_moderated_contrast_is_students_t_with_the_degrees_of_both():
    contrast = Contrast(estimate=1.0, lower=0.0, upper=0.0, seed_error=0.3, seeds=3)
    moderated = Prior(variance=0.9, degrees=4.0).moderate(contrast)
    error = np.sqrt((4 * 0.9 + 2 * 0.3**2 * 3) / 6 / 3)
    assert moderated.seed_error == pytest.approx(error)
    assert moderated.p_value() == pytest.approx(2 * student.sf(1 / error, 6), rel=0.01)
    low, high = moderated.interval()
    assert (high - low) / 2 == pytest.approx(student.isf(0.025, 6) * error)
    equal = Contrast(0.0, 0.0, 0.0, 0.0, 3)
    assert Prior(1.0, 4.0).moderate(equal) == equal


def test_the_variances_of_a_table_are_those_of_its_paired_changes():
    rng, nan = np.random.default_rng(1), np.nan
    rows = [
        {"dataset": d, "backbone": "b", "entry": e, "seed": s, "metric": "nll", "value": rng.normal(), "debiased": nan}
        for d in "xyzuv" for e in ("base", "new") for s in range(3)
    ]  # fmt: skip
    found = table_priors(pd.DataFrame(rows), {"new": ("new", "base")}, ("metric",))[("nll",)]
    wide = pd.DataFrame(rows).pivot(index=["dataset", "seed"], columns="entry", values="value")
    by_hand = (wide["new"] - wide["base"]).groupby("dataset").var()
    assert found == priors(spreads(by_hand, change="new"))


def suite(effects, seeds, rng):
    """Values of a baseline and of entries with true effects, over cells: a table and replicates without spread."""
    rows, replicates = [], {}
    cells, entries = effects.shape
    for cell in range(cells):
        values = 10 + 0.1 * rng.normal(size=(entries + 1, seeds)) + np.r_[0, effects[cell]][:, None]
        for place, by_seed in enumerate(values):
            for seed, value in enumerate(by_seed):
                where = {"dataset": f"d{cell}", "backbone": "b", "split": "test", "checkpoint": "last"}
                rows.append(
                    where
                    | {
                        "recipe": "r",
                        "calibrator": None,
                        "entry": f"e{place}",
                        "seed": seed,
                        "metric": "nll",
                        "value": value,
                    }
                )
                address = (where["dataset"], "b", f"e{place}", seed, "last", "test")
                replicates[address] = {"nll": value + 1e-4 * rng.normal(size=20)}
    return pd.DataFrame(rows), replicates


def test_a_real_gain_with_three_seeds_is_marked_where_other_cells_are_as_steady():
    effects = np.zeros((6, 15))
    effects[:, :4] = -1.0  # ten standard deviations of a run
    found = compare(*suite(effects, 3, np.random.default_rng(2)), "e0", expected_seeds=3)
    wrong = found["differs"].eq(True) & ~found["entry"].isin(["e1", "e2", "e3", "e4"])
    assert found[found["entry"].isin(["e1", "e2", "e3", "e4"])]["differs"].eq(True).mean() > 0.9
    assert wrong.sum() <= 2
    single = compare(*suite(effects[:1], 3, np.random.default_rng(2)), "e0", expected_seeds=3)
    assert single["differs"].eq(True).sum() <= 4


@pytest.mark.slow
def test_marks_and_intervals_agree_but_for_the_adjustment():
    effects = np.linspace(-0.6, 0.6, 60).reshape(6, 10)
    found = compare(*suite(effects, 3, np.random.default_rng(3)), "e0", expected_seeds=3)
    found = found[found["entry"] != "e0"]
    outside = (found["change_low"] > 0) | (found["change_high"] < 0)
    assert (outside == (found["p"] <= 0.05)).all()  # the interval is that of the p value before the adjustment
    assert outside[found["differs"].eq(True)].all()  # a mark never contradicts the interval of the change
    ratio = (found["reduction_low"] > 0) | (found["reduction_high"] < 0)
    assert (ratio == outside).mean() > 0.95


def test_hommel_by_wrights_example_and_nan():
    # R: p.adjust(c(.01, .02, .022, .09), "hommel")
    assert hommel(np.array([0.01, np.nan, 0.02, 0.022, 0.09])) == pytest.approx(
        [0.03, np.nan, 0.04, 0.044, 0.09], nan_ok=True
    )
    assert np.isnan(hommel(np.array([np.nan]))).all()
    assert hommel(np.array([0.04])).tolist() == [0.04]
