"""The typed records and the files of results: what is written can be read, and what was altered is refused."""

import copy
import json
import random
import shutil

import pandas as pd
import pytest

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.results.base_record import parse, plain
from calbench.benchmark.results.records import CellRecord, RunRecord
from calbench.benchmark.results.results import Results
from calbench.benchmark.results.series_records import DiagramRecord

CELL = {"dataset": "d", "backbone": "b", "recipe": "r", "seed": 0, "status": "done"}
BIN = {"low": 0.0, "high": 1.0, "count": 2, "confidence": 0.5, "accuracy": 0.5}
DIAGRAM = {"dataset": "d", "backbone": "b", "entry": "e", "seed": 0, "checkpoint": "last", "split": "test"}


@pytest.fixture
def folder(tmp_path):
    """A folder of results written by hand: two entries, one cell."""
    path = tmp_path / "hand"
    path.mkdir()
    columns = "dataset,backbone,entry,recipe,calibrator,seed,checkpoint,split,metric,value,low,high\n"
    (path / "results.csv").write_text(
        columns + "d,b,r,r,none,0,last,test,ece,3.0,2.0,4.0\nd,b,r + ts,r,ts,0,last,test,ece,1.0,0.5,2.0\n"
    )
    head = (
        "dataset,backbone,entry,split,checkpoint,metric,seeds,expected_seeds,value,low,high,baseline,change,change_low,"
        "change_high,reduction,reduction_low,reduction_high,differs,tied_with_best,calibrated\n"
    )
    row = "d,b,r + ts,test,last,ece,1,1,1.0,0.5,2.0,r,-2.0,-3.0,-1.0,66.7,50,80,True,True,False\n"
    (path / "comparisons.csv").write_text(head + row)
    method = {"name": "ts", "label": "TS", "kind": "calibrator", "paper": None, "options": {"criterion": "nll"}}
    entries = [
        {"entry": "r", "label": "R", "recipe": "r", "calibrator": "none", "methods": []},
        {"entry": "r + ts", "label": "R + TS", "recipe": "r", "calibrator": "ts", "methods": [method]},
    ]
    metric = {"name": "ece", "label": "ECE", "unit": "%", "better": "lower", "decimals": 2, "needs": []}
    run = {
        "format": 1, "suite": "hand", "baseline": "r", "entries": entries, "cells": [CELL], "metrics": [metric],
        "protocol": {"name": "clean", "checkpoint": "last", "bins": 15}, "config": {"seeds": 1, "tables": []},
        "versions": {"torch": "2.15.0"}, "hardware": {"cores": 2}, "seconds": 1.5, "seeds": [0],
    }  # fmt: skip
    (path / "run.json").write_text(json.dumps(run))
    (path / "diagrams.json").write_text(json.dumps([DIAGRAM | {"bins": [BIN], "temperature": None}]))
    curve = {"dataset": "d", "backbone": "b", "recipe": "r", "seed": 0, "epochs": [{"epoch": 1, "loss": 0.5}]}
    (path / "curves.json").write_text(json.dumps([curve | {"checkpoints": {"last": 1}}]))
    return path


def test_what_is_saved_is_what_was_loaded(folder, tmp_path):
    first = Results.load(str(folder))
    first.save(str(tmp_path / "copy"))
    second = Results.load(tmp_path / "copy")
    assert second.run == first.run
    assert second.diagrams == first.diagrams
    assert second.curves == first.curves
    assert second.table.equals(first.table)
    assert second.run.protocol.main_checkpoint == "last"
    assert plain(second.run)["protocol"]["bins"] == 15, "fields that no report reads are kept"


def test_a_dataframe_latex_and_html_come_from_the_results(folder):
    results = Results.load(folder)
    frame = results.leaderboard().set_index("entry")
    assert frame.loc["r + ts", "ece"] == 1.0
    assert frame.loc["r + ts", "reduction"] == pytest.approx(66.7)
    assert r"\begin{tabular}" in results.to_latex("d-b")
    assert results.to_latex("ece") == results.to_latex("overall")
    assert results._repr_html_().count("<tr") == 3
    with pytest.raises(InputError, match="unknown table 'over'"):
        results.to_latex("over")


def test_results_print_as_a_header_and_the_summary_table(folder):
    results = Results.load(folder)
    shown = repr(results)
    assert str(results) == shown
    head, _, table = shown.partition("\n\n")
    assert head.endswith(": dataset d; 2 entries; seed 0")
    assert len(shown) < 4000
    assert "66.7" in table
    assert "\x1b" not in shown
    assert max(map(len, shown.splitlines())) <= 120


def test_results_without_rows_or_columns_print_without_an_error(folder):
    results = Results.load(folder)
    results.table, results.comparisons = results.table.iloc[:0], results.comparisons.iloc[:0]
    assert repr(results).endswith("no datasets; 0 entries; no seeds\n\n(no results)")
    results.table = results.table[["dataset"]]
    assert "(no results)" in repr(results)
    results.table = pd.DataFrame({"dataset": ["d"]})
    assert "(no summary table: " in repr(results)


def test_records_are_frozen_and_know_their_fields():
    cell = parse(CellRecord, CELL, "cell")
    with pytest.raises(ValueError, match="frozen"):
        cell.status = "failed"
    assert cell["status"] == "done"
    with pytest.raises(KeyError):
        cell["model_config"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (CELL | {"seed": "first"}, r"^cell: seed: "),
        (CELL | {"sed": 1}, "sed: Extra inputs"),
        ({"dataset": "d"}, r"backbone: Field required \(and 3 more\)"),
        ([], "^cell: "),
    ],
)
def test_a_wrong_record_names_its_field_in_one_line(value, message):
    with pytest.raises(InputError, match=message) as caught:
        parse(CellRecord, value, "cell")
    assert "\n" not in str(caught.value)


def test_empty_bins_are_not_filled():
    bins = [BIN, BIN | {"count": 0}, BIN | {"confidence": None}, BIN | {"accuracy": float("nan")}]
    diagram = parse(DiagramRecord, DIAGRAM | {"bins": bins}, "diagram")
    assert [each.filled for each in diagram.bins] == [True, False, False, False]


def test_versions_of_the_cells_are_told_apart():
    made = {"calbench": "0.1.0", "commit": "aaa"}
    cells = [CELL | {"version": made}, CELL | {"version": made}, CELL | {"version": made | {"commit": "bbb"}}]
    run = parse(RunRecord, {"format": 1, "calbench": "0.2.0", "commit": "ccc", "cells": cells}, "run")
    assert [maker.commit for maker in run.makers] == ["aaa", "bbb"]
    assert [maker.commit for maker in parse(RunRecord, {"format": 1, "commit": "ccc"}, "run").makers] == ["ccc"]


JUNK = (None, [], {}, "x", -1, 10**30, float("nan"), True, "\ud800", [[[]]], {"a": {"b": 1}}, "a" * 10_000)


def altered(value, rng):
    """A copy of plain data with one random node replaced, removed or renamed."""
    value = copy.deepcopy(value)
    places = []

    def walk(node):
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            places.append((node, key))
            if isinstance(node[key], dict | list):
                walk(node[key])

    walk(value)
    node, key = rng.choice(places)
    change = rng.choice(("replace", "replace", "remove", "rename"))
    if change == "replace":
        node[key] = rng.choice(JUNK)
    elif change == "remove" or isinstance(node, list):
        del node[key]
    else:
        node[f"{key}_"] = node.pop(key)
    return value


@pytest.mark.slow
@pytest.mark.parametrize("name", ["curves", "diagrams"])
def test_altered_json_is_refused_in_one_line_or_reported(folder, tmp_path, name):
    from calbench.benchmark.report import render_terminal, write_reports
    from calbench.benchmark.report.report import Report

    rng = random.Random(name)
    original = json.loads((folder / f"{name}.json").read_text())
    refused = 0
    for count in range(20):
        (folder / f"{name}.json").write_text(json.dumps(altered(original, rng)))
        try:
            report = Report(Results.load(folder))
            write_reports(report, tmp_path / f"out{count}", ["markdown", "html"])
            render_terminal(report)
        except InputError as error:
            refused += 1
            assert "\n" not in str(error), error
            assert len(str(error)) < 600
        shutil.rmtree(tmp_path / f"out{count}", ignore_errors=True)
    assert refused > 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["results.csv", "comparisons.csv"])
def test_altered_csv_is_refused_in_one_line_or_reported(folder, tmp_path, name):
    from calbench.benchmark.report import write_reports

    rng = random.Random(name)
    lines = (folder / name).read_text().splitlines()
    for count in range(20):
        line = rng.randrange(len(lines))
        cells = lines[line].split(",")
        cells[rng.randrange(len(cells))] = rng.choice(("", "x", "-1", "1e999", "nan", "True", '"', "\x00", "é", "1;2"))
        (folder / name).write_text("\n".join([*lines[:line], ",".join(cells), *lines[line + 1 :]]) + "\n")
        try:
            write_reports(Results.load(folder), tmp_path / f"out{count}", ["markdown"])
        except InputError as error:
            assert "\n" not in str(error), error


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", '{"format": 2}', r"hand/run.json: results of format 2; this version reads 1"),
        ("run.json", '{"format": true}', r"hand/run.json: results of format True"),
        ("run.json", "[", r"hand/run.json: truncated or not JSON"),
        ("diagrams.json", '{"a": 1}', r"hand/diagrams.json: "),
        ("results.csv", "", r"hand/results.csv: not a readable CSV"),
        ("comparisons.csv", None, r"hand/comparisons.csv: no such file"),
        ("run.json", None, r"no results in hand: run the suite first"),
    ],
)
def test_damaged_files_are_named(folder, name, content, message):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(InputError, match=message):
        Results.load(folder)
