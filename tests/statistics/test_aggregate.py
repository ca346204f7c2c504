"""Aggregates over cells and rank tests."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import friedmanchisquare, wilcoxon

from calbench.benchmark.statistics import AGGREGATE_COLUMNS, aggregate, critical_difference, rank_tests


def table(values, metric="ece"):
    """`values`: entry to its values over cells; None is a missing cell."""
    return pd.DataFrame(
        [
            {"dataset": f"d{cell}", "backbone": "b", "entry": entry, "metric": metric, "value": value}
            for entry, column in values.items()
            for cell, value in enumerate(column)
            if value is not None
        ]
    )


def of(frame, entry):
    return frame.set_index("entry").loc[entry]


def test_ratio_of_means_and_mean_of_ratios_differ_in_sign():
    # large gains where the baseline is bad, large relative losses where it is good
    found = aggregate(table({"base": [20, 20, 1, 1], "tree": [10, 10, 3, 2]}), baseline="base")
    tree = of(found, "tree")
    assert list(found) == AGGREGATE_COLUMNS
    assert tree["ratio_of_means"] == pytest.approx(100 * (42 - 25) / 42)
    assert tree["mean_of_ratios"] == pytest.approx((50 + 50 - 200 - 100) / 4)
    assert tree["median"] == pytest.approx((50 - 100) / 2)
    assert tree["worst"] == -200
    assert tree["worse"] == 2
    assert tree["mean"] == 6.25
    assert tree["baseline_mean"] == 10.5
    assert (tree["cells"], tree["expected"]) == (4, 4)


def test_missing_cells_are_counted_and_the_baseline_is_restricted_to_the_same():
    found = aggregate(table({"base": [10, 2], "half": [5, None], "full": [5, 1]}), baseline="base")
    half = of(found, "half")
    assert (half["cells"], half["expected"]) == (1, 2)
    assert half["baseline_mean"] == 10
    assert half["ratio_of_means"] == 50
    assert np.isnan(half["average_rank"])  # a rank over other cells than the rest would mislead
    assert of(found, "full")["average_rank"] == 1
    assert (aggregate(table({"base": [10, 2]}), baseline="base", expected=36)["expected"] == 36).all()


def test_cells_without_the_baseline_do_not_count():
    found = of(aggregate(table({"base": [10, None], "good": [5, 1]}), baseline="base"), "good")
    assert (found["cells"], found["expected"]) == (1, 2)
    assert found["mean"] == 5


def test_no_baseline_at_all():
    for baseline in (None, "absent"):
        found = of(aggregate(table({"good": [5, 1], "bad": [6, 7]}), baseline=baseline), "good")
        assert np.isnan(found["ratio_of_means"])
        assert found["average_rank"] == 1
        assert found["win_rate"] == 100


def test_win_rate_and_ranks_share_ties():
    found = aggregate(table({"a": [1, 1], "b": [1, 2], "c": [3, 0]}), baseline="a").set_index("entry")
    assert found["win_rate"].to_dict() == {"a": 62.5, "b": 37.5, "c": 50.0}
    assert found["average_rank"].to_dict() == {"a": 1.75, "b": 2.25, "c": 2.0}


def test_higher_is_better_for_accuracy():
    found = of(
        aggregate(table({"base": [80, 90], "new": [82, 85]}, "accuracy"), metric="accuracy", baseline="base"), "new"
    )
    assert found["worse"] == 1
    assert found["worst"] == pytest.approx(-100 * 5 / 90)  # a loss of accuracy is negative, as a gain of ECE is
    assert found["mean_of_ratios"] == pytest.approx((100 * 2 / 80 - 100 * 5 / 90) / 2)


def test_nearer_to_zero_is_better_for_the_signed_gap():
    values = table({"base": [-4.0, 2.0], "good": [1.0, -3.0]}, metric="signed-gap")
    good = of(aggregate(values, metric="signed-gap", baseline="base"), "good")
    assert good["mean"] == 2.0
    assert good["ratio_of_means"] == pytest.approx(100 / 3)
    assert good["worst"] == -50
    assert good["worse"] == 1
    assert good["win_rate"] == 50


def test_a_signed_gap_far_below_zero_is_not_within_noise_and_one_whose_interval_contains_zero_is():
    values = table({"base": [-5.0, 5.0, -0.2], "good": [-1.0, 1.0, 0.1]}, metric="signed-gap")
    values = values.assign(low_signed=values["value"] - 0.5, high=values["value"] + 0.5)
    good = of(aggregate(values, metric="signed-gap", baseline="base"), "good")
    assert good["within_noise"] == 1
    assert good["mean_of_ratios"] == pytest.approx(80)


def test_seeds_are_averaged_and_paired_and_the_oracle_left_out():
    rows = [("base", 0, 4.0), ("base", 1, 8.0), ("new", 1, 6.0), ("oracle", 0, 0.1)]
    frame = pd.DataFrame([("d", "b", e, s, "ece", v) for e, s, v in rows])
    frame.columns = ["dataset", "backbone", "entry", "seed", "metric", "value"]
    found = aggregate(frame, baseline="base")
    assert list(found["entry"]) == ["base", "new"]
    assert of(found, "new")["ratio_of_means"] == 25
    assert of(found, "base")["mean"] == 6


def test_bad_tables():
    good = table({"base": [1, 2]})
    with pytest.raises(ValueError, match="no column 'value'"):
        aggregate(good.drop(columns="value"), baseline="base")
    with pytest.raises(ValueError, match="listed twice"):
        aggregate(pd.concat([good, good]), baseline="base")
    with pytest.raises(ValueError, match="choose one split"):
        aggregate(good.assign(split=["test", "shift"]), baseline="base")
    assert aggregate(good, metric="nll", baseline="base").empty


def test_rank_tests_are_scipys():
    rng = np.random.default_rng(0)
    values = {
        "base": rng.random(12) + 1,
        "b": rng.random(12) + 0.8,
        "c": rng.random(12),
        "late": [None, *rng.random(11)],
    }
    found = rank_tests(table({k: list(v) for k, v in values.items()}), baseline="base")
    complete = [values[k] for k in ("base", "b", "c")]
    assert found.cells == 12
    assert found.left_out == ("late",)
    assert found.friedman_p == pytest.approx(friedmanchisquare(*complete).pvalue)
    assert found.ranks.index[0] == "c"
    assert found.ranks.sum() == pytest.approx(6)
    p = {k: wilcoxon(values[k] - values["base"]).pvalue for k in ("b", "c")}
    assert found.wilcoxon["p"].to_dict() == pytest.approx(p)
    low, high = sorted(p, key=p.get)
    assert found.wilcoxon.loc[low, "holm"] == pytest.approx(min(1, 2 * p[low]))
    assert found.wilcoxon.loc[high, "holm"] == pytest.approx(max(min(1, 2 * p[low]), p[high]))


def test_critical_difference_is_the_published_table():
    # Demsar 2006, table 5: q at 0.05 for 2 to 5 classifiers is 1.960, 2.343, 2.569, 2.728
    for entries, quantile in {2: 1.960, 3: 2.343, 4: 2.569, 5: 2.728}.items():
        expected = quantile * np.sqrt(entries * (entries + 1) / (6 * 14))
        assert critical_difference(entries, 14) == pytest.approx(expected, abs=1e-3)


def test_rank_tests_need_cells_and_entries():
    with pytest.raises(ValueError, match="two cells and two entries"):
        rank_tests(table({"a": [1], "b": [2]}))
    pair = rank_tests(table({"a": [*range(6)], "b": [*range(6)]}), baseline="a")
    assert np.isnan(pair.friedman_p)
    assert pair.wilcoxon.loc["b", "p"] == 1


def test_nothing_is_tested_below_six_datasets_however_many_backbones():
    values = {e: list(np.random.default_rng(i).random(15) + i) for i, e in enumerate(("a", "b", "c"))}
    frame = table(values)
    frame["backbone"] = [f"b{i % 3}" for i in range(len(frame))]
    frame["dataset"] = [f"d{i % 15 // 3}" for i in range(len(frame))]
    found = rank_tests(frame, baseline="a")
    assert (found.cells, found.blocks) == (15, 5)
    assert found.ranks.to_dict() == {"a": 1, "b": 2, "c": 3}
    assert np.isnan(found.friedman_p)
    assert np.isnan(found.critical_difference)
    assert found.wilcoxon.empty
    assert found.reason.startswith("5 datasets are too few")


def test_backbones_of_a_dataset_are_averaged_before_ranking():
    # on every backbone but one `a` is better, by little; averaged over the backbones of its only dataset it is worse
    rows = [
        ("d", f"b{i}", e, "ece", v)
        for i, (a, b) in enumerate([(1, 2), (1, 2), (9, 2)])
        for e, v in (("a", a), ("b", b))
    ]
    frame = pd.DataFrame(rows, columns=["dataset", "backbone", "entry", "metric", "value"])
    assert of(aggregate(frame, baseline="a"), "a")["average_rank"] == 2


def test_debiased_values_are_ranked_and_reduced_and_noise_is_left_out():
    frame = table({"base": [10, 4, 3], "new": [5, 3, 3]})
    frame["debiased"] = [9.0, 0.1, 2.0, 3.0, -0.5, -0.2]
    frame["low_signed"] = [7.0, -2.0, 1.0, 1.0, -3.0, -2.0]
    new = of(aggregate(frame, baseline="base"), "new")
    assert new["mean"] == pytest.approx(11 / 3)
    assert new["debiased_mean"] == pytest.approx(2.3 / 3)
    assert new["ratio_of_means"] == pytest.approx(100 * (11.1 - 3) / 11.1)
    assert new["mean_of_ratios"] == pytest.approx((100 * (9 - 3) / 9 + 100) / 2)
    assert new["within_noise"] == 1
    assert "1 of 3 cells" in new["reduction_reason"]
    assert new["worse"] == 0


def test_a_baseline_of_zero_in_one_cell_leaves_the_rest():
    new = of(aggregate(table({"base": [0, 4], "new": [1, 2]}), baseline="base"), "new")
    assert (new["median"], new["worst"], new["within_noise"]) == (50, 50, 1)
    none = of(aggregate(table({"base": [0], "new": [1]}), baseline="base"), "new")
    assert np.isnan(none["ratio_of_means"])
    assert none["reduction_reason"] == "the baseline is within noise of 0 in every cell"


def test_margins_of_changes_add_within_a_dataset_and_in_squares_between():
    frame = pd.DataFrame(
        [(d, b, e, "nll", v) for d in "xy" for b in "pq" for e, v in (("base", 2.0), ("new", 1.0))],
        columns=["dataset", "backbone", "entry", "metric", "value"],
    )
    comparisons = frame.assign(
        change=frame["value"] - 2, change_low=frame["value"] - 2.3, change_high=frame["value"] - 1.6
    )
    new = of(aggregate(frame, metric="nll", baseline="base", comparisons=comparisons), "new")
    assert new["change"] == -1
    assert new["change_low"] == pytest.approx(-1 - (0.6**2 + 0.6**2) ** 0.5 / 4)
    assert new["change_high"] == pytest.approx(-1 + (0.8**2 + 0.8**2) ** 0.5 / 4)
    assert of(aggregate(frame, metric="nll", baseline="base"), "new")["change_reason"]


@pytest.mark.parametrize(
    ("entry", "ratio_of_means", "mean_of_ratios", "median", "worse"),
    [
        ("temperature scaling", 70.9, 67.3, 81.8, 0),
        ("vector scaling", 70.4, 61.9, 79.9, 1),
        ("XGBoost", 56.2, -13.3, 61.1, 6),
        ("quantile histogram, one-vs-rest", 55.3, 41.5, 75.6, 4),
    ],
)
def test_calarenas_published_values_aggregate_as_known(entry, ratio_of_means, mean_of_ratios, median, worse):
    """ECE (15 bins, per cent) of 20 pairs of vision dataset and network.

    Numbers of github.com/probkit/CalArena at a0afa15, results/cv-multiclass (Apache-2.0), rounded to six digits.
    """
    table = pd.read_csv(Path(__file__).parent / "calarena_vision.csv")
    found = of(aggregate(table, baseline="uncalibrated"), entry)
    assert found["cells"] == 20
    assert found["ratio_of_means"] == pytest.approx(ratio_of_means, abs=0.05)
    assert found["mean_of_ratios"] == pytest.approx(mean_of_ratios, abs=0.05)
    assert found["median"] == pytest.approx(median, abs=0.05)
    assert found["worse"] == worse
