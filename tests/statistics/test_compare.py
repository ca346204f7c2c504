"""Comparisons over seeds and samples."""

import numpy as np
import pandas as pd
import pytest

from calbench.benchmark.core.schema import COMPARISON_COLUMNS, RESULT_COLUMNS
from calbench.benchmark.statistics import bootstrap, compare, evaluate

RNG = np.random.default_rng(0)
SHARED = RNG.normal(size=500)  # the noise of the common test samples


def row(entry, seed, value, metric="ece", dataset="digits", backbone="cnn"):
    return [dataset, backbone, entry, entry, "none", seed, "last", "test", metric, value, np.nan, np.nan]


def table(*rows):
    return pd.DataFrame(rows, columns=RESULT_COLUMNS[:12]).reindex(columns=RESULT_COLUMNS)


def spread(value, shared=0.5, own=0.02, seed=0):
    return value + shared * SHARED + own * np.random.default_rng(seed).normal(size=500)


def one(comparisons, entry, metric="ece"):
    found = comparisons[(comparisons["entry"] == entry) & (comparisons["metric"] == metric)]
    assert len(found) == 1
    return found.iloc[0]


def address(entry, seed=0):
    return ("digits", "cnn", entry, seed, "last", "test")


def example():
    values = {"base": 6.0, "good": 3.0, "close": 3.01, "bad": 6.5, "oracle": 1.0}
    results = table(*(row(e, 0, v) for e, v in values.items()))
    replicates = {address(e): {"ece": spread(v, seed=i)} for i, (e, v) in enumerate(values.items())}
    return results, replicates


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


def estimate_row(entry, seed, metric, found, samples):
    columns = dict(zip(RESULT_COLUMNS, row(entry, seed, found.value, metric), strict=False))
    return columns | {
        "low": found.low, "high": found.high, "debiased": found.debiased, "low_signed": found.low_signed,
        "samples": samples, "reason": found.reason,
    }  # fmt: skip


def measured(models, metrics, replicates=200):
    """Results and replicates of models (logits, labels) by entry and seed, as an evaluation gives them."""
    rows, drawn = [], {}
    for (entry, seed), (z, y) in models.items():
        values = bootstrap(logits=z, labels=y, metrics=metrics, replicates=replicates)
        drawn[address(entry, seed)] = values
        for name, found in evaluate(logits=z, labels=y, metrics=metrics, interval=0.95).items():
            rows.append(estimate_row(entry, seed, name, found, len(y)))
    return pd.DataFrame(rows, columns=RESULT_COLUMNS), drawn


def sample(rng, n=500, k=5, scale=2.0):
    z = scale * rng.normal(size=(n, k))
    return z, (z + rng.gumbel(size=z.shape)).argmax(1)


def test_one_lost_sample_is_no_loss_of_accuracy():
    # 1 of 439 lost: p = 1; 10 of 439 lost and none won: McNemar's exact test gives 2 / 2 ** 10 = 0.002
    z, y = sample(np.random.default_rng(1), n=439)
    right = np.flatnonzero(z.argmax(1) == y)
    for lost, differs in ((1, False), (3, False), (10, True)):
        worse = z.copy()
        worse[right[:lost]] = -z[right[:lost]]
        results, replicates = measured({("base", 0): (z, y), ("new", 0): (worse, y)}, ["accuracy"])
        new = one(compare(results, replicates, "base", expected_seeds=1), "new", "accuracy")
        assert new["differs"] is differs
        assert (new["change_low"] <= 0 <= new["change_high"]) is not differs


def test_equal_predictions_do_not_differ_at_all():
    z, y = sample(np.random.default_rng(2))
    results, replicates = measured({("base", 0): (z, y), ("same", 0): (z, y)}, ["accuracy", "ece", "nll"])
    found = compare(results, replicates, "base", expected_seeds=1)
    for metric in ("accuracy", "ece", "nll"):
        same = one(found, "same", metric)
        assert (same["change"], same["change_low"], same["change_high"], same["p"]) == (0, 0, 0, 1)


def test_two_seeds_that_differ_much_say_little():
    results = table(
        *(row(e, s, v) for e, vs in {"base": (4.0, 8.0), "new": (3.0, 5.0)}.items() for s, v in enumerate(vs))
    )
    results["metric"] = "nll"
    replicates = {
        address(e, s): {"nll": spread(4.0, shared=0, own=1e-3, seed=s)} for e in ("base", "new") for s in range(2)
    }
    new = one(compare(results, replicates, "base", expected_seeds=2), "new", "nll")
    # the paired differences are -1 and -3: Student's t with one degree of freedom is 2, p = 0.295
    assert new["p"] == pytest.approx(0.2952, abs=0.002)
    assert new["change_high"] == pytest.approx(-2 + 12.706, abs=0.01)
    assert new["differs"] is False
    assert new["spread_over"] == "samples and seeds"


def test_p_values_are_adjusted_over_the_entries_of_a_table():
    rng = np.random.default_rng(3)
    z, y = sample(rng, n=2000)
    models = {("base", 0): (z, y)} | {(f"e{i}", 0): (z * (1 + 0.03 * i), y) for i in range(1, 5)}
    results, replicates = measured(models, ["nll"])
    found = compare(results, replicates, "base", expected_seeds=1)
    p = found["p"].to_numpy()[1:]
    order = np.argsort(p)
    expected = np.minimum(np.maximum.accumulate(p[order] * np.arange(4, 0, -1)), 1)
    assert found["p_adjusted"].to_numpy()[1:][order] == pytest.approx(expected)
    assert [flag is True for flag in found["differs"][1:]] == (found["p_adjusted"][1:] <= 0.05).tolist()


def test_a_sharp_calibrated_model_does_not_lose_to_a_flat_one():
    rng, lost = np.random.default_rng(4), 0
    for _ in range(20):
        z, y = sample(rng, n=400)
        confidence = np.exp(z.max(1) - np.logaddexp.reduce(z, axis=1))
        flat = np.zeros_like(z)  # confidence 0.691 always: the accuracy of the sharp one over the population
        flat[np.arange(len(z)), z.argmax(1)] = np.log(0.691 / (0.309 / 4))
        results, replicates = measured({("flat", 0): (flat, y), ("sharp", 0): (z, y)}, ["ece"], replicates=100)
        sharp = one(compare(results, replicates, "flat", expected_seeds=1), "sharp")
        lost += sharp["differs"] and sharp["change"] > 0
        assert abs(confidence.mean() - 0.691) < 0.1
    assert lost <= 3  # at a level of 5 %, four or more of 20 have a probability of 0.016


def test_a_baseline_within_noise_has_no_reduction_and_says_so():
    z, y = sample(np.random.default_rng(5))
    results, replicates = measured({("base", 0): (z, y), ("sharp", 0): (3 * z, y)}, ["ece"])
    sharp = one(compare(results, replicates, "base", expected_seeds=1), "sharp")
    assert np.isnan(sharp["reduction"])
    assert "within noise" in sharp["reduction_reason"]
    assert sharp["differs"] is True  # the change is given and tested all the same


def test_a_calibrated_entry_has_a_reduction_of_up_to_a_hundred():
    z, y = sample(np.random.default_rng(6))
    results, replicates = measured({("base", 0): (3 * z, y), ("calibrated", 0): (z, y)}, ["ece"])
    found = one(compare(results, replicates, "base", expected_seeds=1), "calibrated")
    assert found["low"] == 0
    assert found["reduction_high"] == 100
    assert 0 < found["reduction_low"] < found["reduction"] <= 100


def test_what_is_missing_has_a_reason():
    z, y = sample(np.random.default_rng(7))
    models = {("base", 0): (z, y), ("new", 0): (2 * z, y)}
    results, replicates = measured(models, ["ece", "smece", "nll"], replicates=20)
    found = compare(results, replicates, "base", expected_seeds=1)
    smooth = one(found, "new", "smece")
    assert np.isnan(smooth["low"])
    assert smooth["interval_reason"]
    assert np.isnan(smooth["p"])
    assert smooth["change_reason"]
    bare = one(compare(results, {}, "base", expected_seeds=1), "new", "nll")
    assert bare["change_reason"].startswith("no bootstrap replicates")
    absent = one(compare(results[results["entry"] == "new"], replicates, "base", expected_seeds=1), "new", "nll")
    assert absent["change_reason"] == absent["reduction_reason"] == "no seed has both the entry and the baseline"


def test_more_seeds_make_calibrated_harder_to_get():
    def of(seeds):
        rows = [row("m", s, 2.4) for s in range(seeds)]
        rows += [
            row("m", s, v, name) for s in range(seeds) for name, v in (("noise-floor", 2.1), ("noise-floor-95", 2.7))
        ]
        replicates = {address("m", s): {"ece": spread(2.4, shared=0, own=0.5, seed=s)} for s in range(seeds)}
        return one(compare(table(*rows), replicates, "m", expected_seeds=seeds), "m")

    single, several = of(1), of(10)
    assert single["calibrated"] is True
    assert several["calibrated"] is False  # threshold 2.1 + 0.6 / sqrt(10) = 2.29
    assert several["noise_floor_95"] == pytest.approx(2.1 + 0.6 / 10**0.5, abs=0.05)
    assert several["detectable"] < single["detectable"]
