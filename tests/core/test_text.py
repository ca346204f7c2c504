"""Names of strangers in every output: no control character, no formula, no markup that is obeyed."""

import csv
import io
import re

import numpy as np
import pandas as pd
import pytest
from fast_set import fast_only

from calbench import TemperatureScaling, compare
from calbench.benchmark.cli.compare import _print
from calbench.benchmark.config.entry import parse_entry
from calbench.benchmark.config.suite_file import apply_setting, parse_mapping
from calbench.benchmark.config.table_layout import load_layout
from calbench.benchmark.config.terms import parse_term
from calbench.benchmark.core.console import Console
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import Component, Spec
from calbench.benchmark.core.schema import COMPARISON_COLUMNS, RESULT_SCHEMA, conform
from calbench.benchmark.core.text import csv_safe, from_csv, is_visible, typed_command, visible, visible_data
from calbench.benchmark.report import render_terminal, write_reports
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.table import Row, Table
from calbench.benchmark.results.base_record import parse
from calbench.benchmark.results.records import EntryRecord, RunRecord
from calbench.benchmark.results.results import Results
from calbench.benchmark.results.series_records import CurveRecord, DiagramRecord

HOSTILE = [
    "\x1b[31mred\x1b]0;title\x07", "a\u202egnp.exe", "=cmd|' /C calc'!A0", "+1+1", "@SUM(A1)", "-2+3", "'quoted",
    "model[v2]", "[bold]x[/bold]", "<script>alert(1)</script>", "a|b", "$x_1$ & \\input{y}", "\x9b2J", "a\rb",
]  # fmt: skip
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture(scope="module")
def results():
    """A result whose every name is hostile, as a stranger's folder may have it."""
    rows = [
        {"dataset": name, "backbone": name, "entry": entry, "recipe": name, "calibrator": "none", "seed": 0,
         "checkpoint": "last", "split": "test", "metric": metric, "value": value, "low": value, "high": value}
        for name in HOSTILE
        for entry in ("base", f"entry {name}")
        for metric, value in (("ece", 0.1), ("accuracy", 0.9))
    ]  # fmt: skip
    entries = [
        {"entry": e, "label": e, "recipe": "r", "calibrator": "none", "families": [], "methods": []}
        for e in ("base", *(f"entry {name}" for name in HOSTILE))
    ]
    run = {"format": 1, "suite": "s", "title": HOSTILE[0], "description": HOSTILE[0], "notes": HOSTILE, "cells": [],
           "entries": entries, "baseline": "base", "protocol_text": HOSTILE, "commit": HOSTILE[0],
           "versions": {"x": HOSTILE[0]}}  # fmt: skip
    return Results(pd.DataFrame(rows), pd.DataFrame(), parse(RunRecord, visible_data(run), "run"))


def test_no_report_has_control_characters_or_formulas(results, tmp_path):
    results.save(tmp_path)
    for path in write_reports(results, tmp_path):
        text = path.read_text("utf-8")
        assert not UNSAFE.search(text.replace("\r\n", "\n")), path.name
        if path.suffix == ".html":
            assert "<script>alert" not in text
    for path in tmp_path.rglob("*.csv"):
        for cell in (cell for row in csv.reader(io.StringIO(path.read_text("utf-8"))) for cell in row):
            assert cell[:1] not in ("=", "@", "\t", "\r"), (path.name, cell)
            assert cell[:1] not in ("+", "-") or re.fullmatch(r"[-+]?[\d.]*(e[-+]?\d+)?", cell), (path.name, cell)


@pytest.mark.slow
def test_the_terminal_obeys_no_name(results):
    buffer = io.StringIO()
    console = Console(file=buffer, width=300, force_terminal=True, color_system=None)
    console.print(render_terminal(Report(results)))
    for name in HOSTILE:
        console.print(name)
        console.print(f"calbench: {name}", style="red")
    shown = buffer.getvalue()
    assert not UNSAFE.search(re.sub("\x1b\\[[0-9;]*m", "", shown))  # rich's own styles are bold and dim
    assert "\\x1b]0;title\\x07" in shown
    for literal in ("model[v2]", "[bold]x[/bold]"):
        assert literal in shown


ODD = ["NA", "nan", "None", "null", "N/A", "1.0", "007", "1e5", "inf", "true", "_under", " lead", "'q", "=1", "a\nb"]


def named(name, runs=RunRecord):
    """Results made in memory, none of whose parts went through a file."""
    where = {"dataset": name, "backbone": name, "entry": name, "seed": 0, "split": "test"}
    row = where | {"recipe": name, "calibrator": name, "checkpoint": "last", "metric": "ece", "value": 0.5}
    run = runs(suite="s", title=name, notes=(name,), entries=(EntryRecord(entry=name, label=name, recipe=name),))
    curve = CurveRecord(dataset=name, backbone=name, recipe=name, seed=0)
    return Results(pd.DataFrame([row]), pd.DataFrame(), run, [DiagramRecord(**where)], [curve])


@pytest.mark.parametrize("name", [*HOSTILE, "\u2028", "\u200bx", "\u061cx", "\ufeffx", "\x00"])
def test_results_made_in_memory_have_one_harmless_name_everywhere(name):
    made = named(name)
    [shown] = set(made.table["entry"])
    assert shown == visible(name)
    texts = [made.run.title, made.run.notes[0], made.run.entries[0].label]
    texts += [made.diagrams[0].entry, made.diagrams[0].dataset, made.curves[0].recipe]
    assert set(texts) == {shown}
    assert is_visible(shown)


def test_what_is_harmless_already_is_not_copied():
    run = RunRecord(title="x")
    assert Results(pd.DataFrame(), pd.DataFrame(), run).run is run


@pytest.mark.parametrize("name", fast_only(("NA", "007", "true", " lead", "=1", "a\nb"), ODD))
def test_names_that_a_csv_reader_takes_for_something_else_come_back(name, tmp_path):
    made = named(name)
    made.comparisons = pd.DataFrame(columns=COMPARISON_COLUMNS)
    made.table = conform(made.table.assign(low=np.nan, high=np.nan), RESULT_SCHEMA)
    made.save(tmp_path)
    back = Results.load(tmp_path)
    for column in ("dataset", "backbone", "entry", "recipe", "calibrator"):
        assert back.table[column].tolist() == [name]
    assert np.isnan(back.table["low"]).all()
    assert back.diagrams == made.diagrams


@pytest.mark.slow
def test_compare_refuses_labels_that_tables_cannot_show():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(60, 3)), rng.integers(0, 3, 60)
    given = {"logits": logits, "labels": labels, "calibration_logits": logits, "calibration_labels": labels}
    for name in ("uncalibrated", "oracle", "\x1b[2J", "\ud800", "a\nb", "x" * 300):
        with pytest.raises(InputError, match="label|the name of another row"):
            compare({name: TemperatureScaling()}, **given, bootstrap=0)
    with pytest.raises(InputError, match="another row"):
        compare({"a": TemperatureScaling(), " a ": TemperatureScaling()}, **given, bootstrap=0)
    assert set(compare({"NA": TemperatureScaling()}, **given, bootstrap=0, name="\n").table["dataset"]) == {"unnamed"}


def test_printed_csv_has_no_formulas(capsys):
    _print(Table("t", "T", ("entry",), (), (Row(("=cmd|' /C calc'!A0",), ("x",), ()),)), "csv", [])
    assert "\n'=cmd" in capsys.readouterr().out


def test_names_come_back_from_csv():
    frame = pd.DataFrame({"entry": [visible(name) for name in HOSTILE], "value": range(len(HOSTILE))})
    back = from_csv(pd.read_csv(io.StringIO(csv_safe(frame).to_csv(index=False)), dtype={"entry": "str"}))
    assert back.entry.tolist() == frame.entry.tolist()


class Weights(Component):
    spec = Spec("weights", "W")

    def changed_options(self):
        return {"checkpoint": "/home/somebody/w.safetensors", "size": 3}


def test_one_name_without_a_path():
    assert Weights().spelled() == "weights(checkpoint=w.safetensors, size=3)"
    entry = parse_entry({"label": "TS of /home/x/run", "methods": ["temperature-scaling"]})
    assert entry.name == "TS of run"


def test_labels_are_text_at_the_check():
    assert parse_entry({"label": 2024, "methods": ["temperature-scaling"]}).name == "2024"
    for label in (["x"], True, "a\nb", "\x1b[31m", "x" * 300):
        with pytest.raises(InputError, match="label"):
            parse_entry({"label": label, "methods": ["temperature-scaling"]})


LAUGHS = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)

MERGES = "a0: &a0 {k: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [{','.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 9))

BOMBS = {
    "100,000.*CALBENCH_LIMITS": LAUGHS,
    "values exceed": MERGES,
    "alias inside": "datasets: &a [*a]",
    "an alias inside of what": "datasets: &a {<<: *a}",
    "nested more than 100": "a: " + "[" * 150 + "]" * 150,
    "nested more than 100 levels": "a: " + "[" * 900_000,
    "levels deep": "- " * 400_000,
    "101,000 values": "a: [" + "x," * 110_000 + "]",
    "1,000,000 \\(if": "#" * 1_000_001,
    "a number of more than": "a: 0x" + "f" * 900_000,
    "line 1: a number of more than 1,000": "a: 1" + ":1" * 400_000,
    "number of more": "a: 1" + ":1" * 400_000 + ".5",
    "not valid YAML": "a: !" + "y" * 100_000 + " 1",
}
DEAR = {"101,000 values", "a number of more than", "number of more", "nested more than 100 levels"}


@pytest.mark.parametrize("message", fast_only(BOMBS.keys() - DEAR, BOMBS))
def test_yaml_bombs_are_refused(message):
    with pytest.raises(InputError, match=message) as error:
        parse_mapping(BOMBS[message], "s.yaml", ["datasets"])
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("text", ["&a [*a]", "[" * 150 + "]" * 150, "0x" + "f" * 5000, "1" + ":1" * 5000, "2024-13-45"])
def test_options_of_entries_layouts_and_settings_have_the_bounds_of_suites(tmp_path, text):
    with pytest.raises(InputError, match="--set") as error:
        apply_setting({}, f"seeds={text}", ["seeds"])
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="cannot read"):
        parse_term(f"calattn(hidden={text})")
    (tmp_path / "layout.yaml").write_text(f"a: {text}")
    with pytest.raises(InputError, match=r"layout\.yaml: ") as error:
        load_layout(tmp_path / "layout.yaml")
    assert "\n" not in str(error.value)


def test_what_a_mapping_merges_is_overridden_and_its_lines_are_known():
    raw, where = parse_mapping("base: &b {x: 1, y: 2}\nseeds:\n  <<: *b\n  x: 3\n", "s.yaml", ["seeds"])
    assert raw["seeds"] == {"x": 3, "y": 2}
    assert where(["seeds", "x"]) == "s.yaml, line 4"
    assert where(["seeds", "y"]) == "s.yaml, line 1"


def test_the_command_of_a_record_has_no_absolute_path(monkeypatch):
    monkeypatch.setattr(
        "sys.argv", ["/opt/bin/calbench", "run", "s.yaml", "--set", "datasets=[image-folder(path=/home/me/x)]"]
    )
    assert typed_command() == "calbench run s.yaml --set 'datasets=[image-folder(path=x)]'"
