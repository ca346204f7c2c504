"""Means over samples are not compared where almost no prediction is wrong; accuracy and calibration errors are."""

import numpy as np
import pandas as pd
import pytest

import calbench as cb
from calbench.benchmark.core.schema import FEWEST_WRONG
from calbench.benchmark.report import write_reports
from calbench.benchmark.statistics.seed_value import with_wrong_predictions


def comparisons(wrong):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 4))
    labels = logits.argmax(1)
    labels[:wrong] = np.argsort(-logits, axis=1)[:wrong, 1]
    sharp = cb.TemperatureScaling().fit(np.eye(4)[[0, 1, 2, 3, 0]], [0, 1, 2, 3, 1])
    results = cb.compare({"TS": sharp}, logits=logits, labels=labels, bootstrap=100)
    return results, results.comparisons.query("entry == 'TS'").set_index("metric")


@pytest.mark.parametrize(("wrong", "is_compared"), [(FEWEST_WRONG - 1, False), (FEWEST_WRONG, True)])
def test_a_mean_is_compared_from_a_number_of_wrong_predictions_on(wrong, is_compared, tmp_path):
    results, rows = comparisons(wrong)
    for metric in ("nll", "brier"):
        row = rows.loc[metric]
        assert np.isfinite([row["change"], row["low"], row["high"]]).all()  # the values have their intervals
        assert np.isfinite(row["p"]) == is_compared
        assert pd.isna(row["differs"]) != is_compared
        assert ("predictions are wrong" in row["change_reason"]) != is_compared
    assert np.isfinite(rows.loc[["accuracy", "ece"], "p"]).all()
    write_reports(results, tmp_path, ["markdown"])
    text = (tmp_path / "leaderboard.md").read_text()
    assert (f"fewer than {FEWEST_WRONG} predictions are wrong" in text) != is_compared


def test_wrong_predictions_are_counted_by_entry_and_seed_and_unknown_without_accuracy():
    shared = {"dataset": "d", "backbone": "b", "checkpoint": "last", "split": "test", "samples": 50.0}
    rows = [
        shared | {"entry": "a", "seed": seed, "metric": metric, "value": value}
        for seed, accuracy in ((0, 98.0), (1, 94.0))
        for metric, value in (("accuracy", accuracy), ("nll", 0.1))
    ]
    rows.append(shared | {"entry": "b", "seed": 0, "metric": "nll", "value": 0.2})
    counted = with_wrong_predictions(pd.DataFrame(rows))
    assert counted["wrong"].tolist()[:4] == [1, 1, 3, 3]
    assert np.isnan(counted["wrong"].iloc[4])
