"""The study of coverage and levels."""

import sys

import pandas as pd
import pytest

from calbench.benchmark.studies.coverage import __main__ as study
from calbench.benchmark.studies.coverage.measure import SITUATIONS, Size, simulate
from calbench.benchmark.studies.coverage.report import level_table, pooled

TINY = Size(sets=2, replicates=20, draws=20, truth=100_000)
BY_NAME = {situation.name: situation for situation in SITUATIONS}


def test_a_table_of_equal_entries_tests_each_and_one_of_a_worse_entry_tests_that():
    levels = level_table(simulate(BY_NAME["table-equal"], TINY, 0, {}))
    assert set(levels["kind"]) == {"level"}
    assert list(levels["tests"]) == [2 * 12] * 3
    power = level_table(simulate(BY_NAME["table-equal-worse"], TINY, 0, {}))
    assert set(power["kind"]) == {"power"}
    assert len(power) == 2 * 3


def test_levels_of_several_situations_are_pooled_by_their_tests():
    shared = {"samples": 10, "kind": "level", "label": "mark", "metric": "nll", "seeds": 1, "truth": None}
    levels = pd.DataFrame([
        shared | {"situation": "a", "tests": 100, "seen": 10.0}, shared | {"situation": "b", "tests": 300, "seen": 2.0},
    ])  # fmt: skip
    assert pooled(levels)[["tests", "seen"]].to_numpy().tolist() == [[400, pytest.approx(4.0)]]


@pytest.mark.slow
def test_a_partial_run_keeps_the_rows_of_the_others_with_their_commit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study, "QUICK", TINY)
    run(monkeypatch, tmp_path, "levels-540", "coverage-540")
    levels = pd.read_csv(tmp_path / "levels.csv").assign(commit="earlier")
    levels.to_csv(tmp_path / "levels.csv", index=False)
    run(monkeypatch, tmp_path, "table-equal")
    after = pd.read_csv(tmp_path / "levels.csv")
    assert list(dict.fromkeys(after["situation"])) == ["coverage-540", "levels-540", "table-equal"]
    assert (after["commit"] == "earlier").tolist() == (after["situation"] != "table-equal").tolist()
    text = (tmp_path / "coverage.md").read_text()
    assert "earlier" in text
    assert "**Power" in text
    assert {path.name for path in tmp_path.iterdir()} == {
        "coverage.csv", "coverage.md", "coverage.pdf", "coverage.png", "levels.csv",
    }  # fmt: skip


def run(monkeypatch, folder, *situations):
    arguments = ["study", "--quick", "--jobs", "1", "--out", str(folder), "--only", *situations]
    monkeypatch.setattr(sys, "argv", arguments)
    study.main()
