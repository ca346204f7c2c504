"""Comparisons over seeds and samples."""

import numpy as np
import pandas as pd
import pytest
from compared_entries import address, example, one, row, spread, table

from calbench.benchmark.core.schema import COMPARISON_COLUMNS
from calbench.benchmark.statistics import compare


def test_columns_and_point_values():
    results, replicates = example()
    found = compare(results, replicates, "base", expected_seeds=1)
    assert list(found) == COMPARISON_COLUMNS
    good = one(found, "good")
    assert good["value"] == 3
    assert good["change"] == -3
    assert good["reduction"] == 50
    assert good["seeds"] == good["expected_seeds"] == 1
    assert one(found, "base")["reduction"] == 0


def test_pairing_cancels_the_shared_noise():
    results, replicates = example()
    found = compare(results, replicates, "base", expected_seeds=1)
    bad = one(found, "bad")
    assert bad["high"] - bad["low"] > 1.5  # the value itself is uncertain
    assert bad["change_high"] - bad["change_low"] < 0.2  # the difference is not
    assert bad["differs"] is True
    assert one(found, "base")["differs"] is False
    assert bad["reduction_low"] < bad["reduction"] < bad["reduction_high"] < 0


def test_ties_with_the_best_leave_out_the_oracle():
    results, replicates = example()
    found = compare(results, replicates, "base", expected_seeds=1)
    assert one(found, "good")["tied_with_best"] is True
    assert one(found, "close")["tied_with_best"] is True
    assert one(found, "base")["tied_with_best"] is False
    assert one(found, "oracle")["tied_with_best"] is None


def test_higher_is_better_for_accuracy():
    results = table(row("base", 0, 90.0, "accuracy"), row("worse", 0, 80.0, "accuracy"))
    replicates = {address(e): {"accuracy": spread(v)} for e, v in {"base": 90.0, "worse": 80.0}.items()}
    found = compare(results, replicates, "base", expected_seeds=1)
    assert one(found, "base", "accuracy")["tied_with_best"] is True
    assert one(found, "worse", "accuracy")["tied_with_best"] is False
    assert one(found, "worse", "accuracy")["reduction"] == pytest.approx(-100 * 10 / 90)


def test_nearer_to_zero_is_better_for_the_signed_gap():
    values = {"over": 4.0, "under": -6.0, "near": -0.5}
    results = table(*(row(e, 0, v, "signed-gap") for e, v in values.items()))
    replicates = {address(e): {"signed-gap": spread(v, shared=0.05)} for e, v in values.items()}
    found = compare(results, replicates, "over", expected_seeds=1)
    tied = {entry: one(found, entry, "signed-gap")["tied_with_best"] for entry in values}
    assert tied == {"over": False, "under": False, "near": True}
    near = one(found, "near", "signed-gap")
    assert near["change"] == -4.5
    assert near["reduction"] == 100 * (4 - 0.5) / 4
    assert near["reduction_low"] < near["reduction"] < near["reduction_high"]
    assert one(found, "under", "signed-gap")["reduction"] == -50


def test_a_quantity_that_is_no_metric_has_no_best():
    results = table(row("base", 0, 1.5, "temperature"), row("other", 0, 0.7, "temperature"))
    replicates = {address(e): {"temperature": spread(v)} for e, v in {"base": 1.5, "other": 0.7}.items()}
    found = compare(results, replicates, "base", expected_seeds=1)
    assert list(found["tied_with_best"]) == [None, None]
    assert one(found, "other", "temperature")["differs"] is True


def test_seeds_widen_the_interval():
    seeds = {0: 2.0, 1: 4.0, 2: 6.0}
    results = table(*(row("base", s, v) for s, v in seeds.items()))
    replicates = {address("base", s): {"ece": spread(v, shared=0.01)} for s, v in seeds.items()}
    found = one(compare(results, replicates, "base", expected_seeds=3), "base")
    assert found["value"] == 4
    assert found["seeds"] == 3
    # three draws of 2, 4, 6 have a mean of 2 or 2.67 with probability 4/27, and as often of 6 or 5.33
    assert found["low"] < 2.7
    assert found["high"] > 5.3


def test_seeds_are_drawn_alike_for_both_sides_of_a_difference():
    results = table(*(row(e, s, v + 2 * s) for e, v in {"base": 4.0, "good": 3.0}.items() for s in range(3)))
    replicates = {
        address(e, s): {"ece": spread(v + 2 * s)} for e, v in {"base": 4.0, "good": 3.0}.items() for s in range(3)
    }
    good = one(compare(results, replicates, "base", expected_seeds=3), "good")
    assert good["change"] == pytest.approx(-1)
    assert good["change_high"] - good["change_low"] < 0.2
    assert good["differs"] is True


def test_missing_seed_is_visible_and_the_change_is_over_common_seeds():
    results = table(row("base", 0, 4.0), row("base", 1, 8.0), row("half", 1, 6.0))
    found = one(compare(results, {}, "base", expected_seeds=2), "half")
    assert (found["seeds"], found["expected_seeds"]) == (1, 2)
    assert found["value"] == 6
    assert found["change"] == -2
    assert found["reduction"] == 25


def test_failed_values_are_not_counted():
    results = table(row("base", 0, 4.0), row("base", 1, np.nan), row("good", 0, 3.0))
    assert one(compare(results, {}, "base", expected_seeds=2), "base")["seeds"] == 1


def test_without_replicates_nothing_is_said_of_significance():
    results, _ = example()
    found = compare(results, {}, "base", expected_seeds=1)
    good = one(found, "good")
    assert good["reduction"] == 50
    for column in ("low", "high", "change_low", "change_high", "reduction_low", "reduction_high"):
        assert np.isnan(good[column])
    assert good["differs"] is None
    assert good["tied_with_best"] is None


def test_a_table_without_backbone_seed_checkpoint_and_split():
    results = table(row("base", None, 4.0, backbone=None), row("good", None, 3.0, backbone=None))
    results[["checkpoint", "split"]] = None
    assert one(compare(results, {}, "base", expected_seeds=1), "good")["reduction"] == 25


def test_no_baseline_in_a_cell():
    found = one(compare(table(row("good", 0, 3.0)), {}, "base", expected_seeds=1), "good")
    assert np.isnan(found["reduction"])
    assert found["differs"] is None


def test_a_baseline_of_zero_has_no_reduction():
    found = one(compare(table(row("base", 0, 0.0), row("good", 0, 3.0)), {}, "base", expected_seeds=1), "good")
    assert np.isnan(found["reduction"])
    assert found["change"] == 3


def test_calibrated_is_below_the_noise_floor():
    results = table(
        row("base", 0, 4.0),
        row("base", 0, 1.5, "noise-floor-95"),
        row("good", 0, 1.4),
        row("good", 0, 1.5, "noise-floor-95"),
        row("good", 0, 80.0, "accuracy"),
    )
    found = compare(results, {}, "base", expected_seeds=1)
    assert one(found, "base")["calibrated"] is False
    assert one(found, "good")["calibrated"] is True
    assert one(found, "good", "accuracy")["calibrated"] is None


def test_nan_replicates_give_no_interval():
    results, replicates = example()
    replicates[address("good")] = {"ece": np.full(500, np.nan)}
    found = compare(results, replicates, "base", expected_seeds=1)
    assert np.isnan(one(found, "good")["low"])
    assert one(found, "good")["differs"] is None


def test_bad_tables():
    results, replicates = example()
    with pytest.raises(ValueError, match="the column 'metric' is missing"):
        compare(results.drop(columns="metric"), {}, "base", expected_seeds=1)
    with pytest.raises(ValueError, match=r"listed twice.*good"):
        compare(pd.concat([results, results[results["entry"] == "good"]]), {}, "base", expected_seeds=1)
    replicates[address("good")] = {"ece": np.zeros(3)}
    with pytest.raises(ValueError, match="differ in number"):
        compare(results, replicates, "base", expected_seeds=1)


def test_empty_table():
    assert compare(table(), {}, "base", expected_seeds=1).empty
