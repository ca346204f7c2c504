"""Which differences count as real: exact tests, seeds, adjusted p-values, reductions within noise."""

import itertools

import numpy as np
import pytest
from compared_entries import address, measured, one, row, sample, spread, table

from calbench.benchmark.statistics import compare


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
    expected = np.zeros(4)  # the largest p value by Simes of all sets that contain the entry
    for size in range(1, 5):
        for chosen in map(list, itertools.combinations(range(4), size)):
            simes = (np.sort(p[chosen]) * size / np.arange(1, size + 1)).min()
            expected[chosen] = np.maximum(expected[chosen], simes)
    assert found["p_adjusted"].to_numpy()[1:] == pytest.approx(expected)
    assert [flag is True for flag in found["differs"][1:]] == (found["p_adjusted"][1:] <= 0.05).tolist()


@pytest.mark.slow
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
