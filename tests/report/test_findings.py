"""The sentences at the end of a run, and the advice after comparing calibrators."""

import numpy as np
import pandas as pd
import pytest

from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.core.schema import COMPARISON_SCHEMA, conform
from calbench.benchmark.execution.posthoc import compare_calibrators, parse_chain
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.benchmark.report.findings import advice, findings


class Stored:
    """The part of results that findings read."""

    def __init__(self, rows):
        base = {
            "split": "test", "checkpoint": "last", "metric": "nll", "seeds": 2, "expected_seeds": 2, "baseline": "base",
            "low": np.nan, "high": np.nan, "change_low": np.nan, "change_high": np.nan, "reduction": np.nan,
            "reduction_low": np.nan, "reduction_high": np.nan, "tied_with_best": None, "calibrated": None,
        }  # fmt: skip
        names = ("dataset", "backbone", "entry", "value", "change", "differs")
        self.comparisons = conform(pd.DataFrame([base | dict(zip(names, row, strict=True)) for row in rows]),
                                   COMPARISON_SCHEMA)  # fmt: skip


def test_entries_are_sorted_into_better_worse_and_noise():
    rows = [("d", net, "base", 1.0, np.nan, None) for net in "ab"]
    rows += [("d", net, "good", 0.8, -0.2, net == "a") for net in "ab"]
    rows += [("d", "a", "mixed", 0.9, -0.1, True), ("d", "b", "mixed", 1.1, 0.1, True)]
    rows += [("d", net, "same", 1.01, 0.01, False) for net in "ab"]
    first, second, third = findings(Stored(rows))
    assert first.startswith("Compared: 3 entries with base on 2 pairs of dataset and backbone, 2 seeds")
    assert "better without being worse anywhere: good (on 1 of 2)" in second
    assert "worse somewhere: mixed (on 1 of 2)" in second
    assert third == "Within noise of base everywhere: same."


def test_with_one_seed_only_the_noise_of_test_samples_is_covered():
    stored = Stored([("d", "a", "base", 1.0, np.nan, None), ("d", "a", "good", 0.8, -0.2, True)])
    assert findings(stored)[1].startswith("Beyond noise: better")
    stored.comparisons = stored.comparisons.assign(seeds=1, expected_seeds=1)
    assert findings(stored)[1].startswith(
        "Beyond the noise of the test samples (with one seed, that of training is not covered): better"
    )


def test_an_entry_that_costs_accuracy_beyond_noise_is_warned_of():
    stored = Stored([("d", net, "base", 1.0, np.nan, None) for net in "ab"])
    accuracy = Stored([
        ("d", "a", "mmce", 60.0, -23.0, True), ("d", "b", "mmce", 80.0, -12.0, True),
        ("d", "a", "focal", 90.0, -0.2, False), ("d", "a", "mixup", 91.0, 1.0, True),
    ])  # fmt: skip
    stored.comparisons = pd.concat([stored.comparisons, accuracy.comparisons.assign(metric="accuracy")])
    last = findings(stored)[-1]
    assert last == "Accuracy below that of base beyond noise: mmce (\N{MINUS SIGN}23.0 points, on 2 of 2)."


def test_nothing_compared_says_nothing():
    assert findings(empty()) == []
    assert advice(empty()) == []


def empty():
    stored = Stored([("d", "a", "base", 1.0, np.nan, None)])
    stored.comparisons = stored.comparisons.iloc[:0]
    return stored


@pytest.fixture(scope="module")
def predictions():
    """Overconfident predictions of 4 classes: the right temperature is 3."""
    import torch

    rng = np.random.default_rng(0)
    z = rng.normal(scale=2, size=(4000, 4))
    y = torch.from_numpy((z + rng.gumbel(size=z.shape)).argmax(1))
    logits = torch.from_numpy(3 * z).float()
    return {"calibration": SplitPredictions(logits[:2000], y[:2000]), "test": SplitPredictions(logits[2000:], y[2000:])}


def compared(parts, *chains, bootstrap=200):
    splits = Predictions({("last", name): part for name, part in parts.items()})
    named = [parse_chain(chain) for chain in chains]
    return compare_calibrators(splits, named, protocol=Protocol(bootstrap=bootstrap), name="x")


def test_the_calibrator_that_keeps_accuracy_is_advised_among_equals(predictions):
    first, *rest = advice(compared(predictions, "vector-scaling", "temperature-scaling"))
    assert first.startswith("Advice: temperature-scaling. NLL ")
    assert "95 % interval \N{MINUS SIGN}" in first
    assert "It keeps every predicted class" in rest[-1]


def tied_rows(nll):
    """Candidates of one pair that are all better than the baseline and tied with the best."""
    stored = Stored([("d", "a", "base", 1.0, np.nan, None), *(("d", "a", n, v, v - 1, True) for n, v in nll.items())])
    stored.comparisons = stored.comparisons.assign(tied_with_best=stored.comparisons["entry"] != "base")
    return stored


VALUES = {"hts": 3, "temperature-scaling": 1, "iso-entropy": 1, "vector-scaling": 0}


@pytest.mark.parametrize(
    ("nll", "advised"),
    [
        ({"hts": 0.7000, "temperature-scaling": 0.7010}, "temperature-scaling"),
        ({"hts": 0.7, "temperature-scaling": 0.701, "vector-scaling": 0.69}, "temperature-scaling"),
        ({"temperature-scaling": 0.701, "iso-entropy": 0.7}, "iso-entropy"),
        ({"hts": 0.7}, "hts"),
    ],
)
def test_the_simplest_of_the_tied_is_advised(nll, advised):
    first, *rest = advice(tied_rows(nll), VALUES.__getitem__)
    assert first.startswith(f"Advice: {advised}. NLL {nll[advised]:.4f} instead of 1.0000")
    assert ("these test samples do not distinguish" in rest[0]) == (len(nll) > 1)
    if len(nll) > 1:
        assert rest[0].startswith(f"It is one of {len(nll)} calibrators")
        assert f"with the fewest fitted values ({VALUES[advised]})" in rest[0]
        assert ("of those that keep every predicted class" in rest[0]) == ("vector-scaling" in nll)
    assert "use the same test rows" in rest[-2]


def test_without_their_sizes_the_lowest_nll_decides_and_a_worse_calibrator_is_not_advised_for_its_size():
    stored = tied_rows({"hts": 0.7, "temperature-scaling": 0.8})
    first, second, *_ = advice(stored)
    assert first.startswith("Advice: hts.")
    assert "fewest" not in second
    worse = stored.comparisons["entry"] == "temperature-scaling"
    stored.comparisons.loc[worse, "tied_with_best"] = False
    first, *rest = advice(stored, VALUES.__getitem__)
    assert first.startswith("Advice: hts.")
    assert not any("distinguish" in line for line in rest)


@pytest.mark.slow
def test_nothing_is_advised_where_nothing_helps(predictions):
    calibrated = {name: SplitPredictions(part.logits / 3, part.labels) for name, part in predictions.items()}
    [line] = advice(compared(calibrated, "temperature-scaling"))
    assert line == (
        "Advice: keep the predictions as they are: no calibrator lowers the NLL of uncalibrated beyond noise."
    )


def test_no_advice_without_a_test_for_noise(predictions):
    [line] = advice(compared(predictions, "temperature-scaling", bootstrap=0))
    assert line == (
        "No advice: nothing was tested for noise, which needs bootstrap replicates (--bootstrap 1000) and at least 6 "
        "test samples, of which 5 are predicted wrongly."
    )
