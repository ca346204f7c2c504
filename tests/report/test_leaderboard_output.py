"""The leaderboard in files and in a terminal."""

import io

import pandas as pd
import pytest
from leaderboard_cells import block, text
from rich.console import Console

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.report.render.terminal import render_terminal, terminal_table
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.table import Cell, Column, Row, Table
from calbench.benchmark.report.write import FORMATS, write_reports

HOSTILE = (
    "cross-entropy", "a_b", "50%", "x & y", "<script>alert(1)</script>", "back\\slash", "#1 \"quoted\" 'name'",
    "$math$ ^ ~ {braces}", "pipe | `tick`", "émile 中文 ↑", "[bold red]markup[/]", "a" * 90,
)  # fmt: skip


def test_written_files(results, tmp_path):
    paths = write_reports(results, tmp_path / "new", ["markdown", "csv", "latex"])
    assert {path.name for path in paths} == {"leaderboard.md", "leaderboard.csv", "overall.csv", "leaderboard.tex"}
    frame = pd.read_csv(tmp_path / "new" / "leaderboard.csv")
    assert len(frame) == 4 * 5 + 2
    assert frame["ece"].dtype == float
    assert frame["reduction"].dtype == float
    assert not [path for path in (tmp_path / "new").iterdir() if path.name.startswith(".")]
    page = (tmp_path / "new" / "leaderboard.md").read_text()
    for line in ("Checkpoint: last epoch", "reductions refer to cross-entropy", "commit 0123abc", "ratio of means"):
        assert line in page


def test_hostile_names_come_out_everywhere(builder, tmp_path):
    results = builder(entries=HOSTILE, datasets=("d_1 & <2>",), backbones=("50%\\b",), labels={"a_b": "L|_&"})
    write_reports(results, tmp_path, ["markdown", "csv", "latex"])
    page = (tmp_path / "leaderboard.md").read_text()
    assert "<script>" not in page.replace("\\<script\\>", "")
    body = [line for line in page.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in body[:14]}) == 1, "a name broke a row"
    assert set(HOSTILE) <= set(pd.read_csv(tmp_path / "leaderboard.csv")["entry"])
    assert "[bold red]markup[/]" in text(render_terminal(Report(results)), 200)


@pytest.mark.slow
def test_a_hundred_entries_and_one_dataset(builder, tmp_path):
    results = builder(
        entries=["cross-entropy", *(f"method-{i}" for i in range(99))], datasets=("digits",), backbones=("vit-micro",),
        seeds=(0,), oracle=False,
    )  # fmt: skip
    assert len(block(results, "digits", "vit-micro").rows) == 100
    write_reports(results, tmp_path, ["latex"])
    assert r"\begin{longtable}" in (tmp_path / "leaderboard.tex").read_text()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_terminal_tells_the_protocol_and_every_entry(results, width):
    shown = text(render_terminal(Report(results)), width)
    assert "Checkpoint: last epoch." in shown
    assert shown.index("digits / vit-micro") < shown.index("All datasets and backbones")
    assert max(map(len, shown.splitlines())) <= width


def test_bold_is_a_star_where_the_output_has_none(results):
    table = block(results, "digits", "vit-micro")
    bold = {row.labels[-1] for row in table.rows if row.cells[0].bold}
    assert 0 < len(bold) < len(table.rows)
    plain = text(terminal_table(table), width=250)
    starred = {line.split("  ")[0].strip() for line in plain.splitlines() if " *" in line}
    assert bold <= starred
    assert "*: bold, which this output cannot show" in plain
    console = Console(file=io.StringIO(), width=250, force_terminal=True, color_system="standard", legacy_windows=False)
    console.print(terminal_table(table))
    shown = console.file.getvalue()
    assert "\x1b[1m" in shown
    assert "*" not in shown


@pytest.mark.slow
def test_a_long_leaderboard_is_shown_by_its_summary(builder, monkeypatch):
    monkeypatch.setattr("calbench.benchmark.report.render.terminal.LONG", 50)
    entries = ["cross-entropy", *(f"method-{i}" for i in range(19))]
    backbones = ("vit-micro", "b", "c")
    results = builder(entries=entries, seeds=(0,), datasets=("digits",), backbones=backbones, oracle=False)
    shown = text(render_terminal(Report(results)))
    assert "leaderboard.md" in shown
    assert "All datasets and backbones" in shown
    assert "digits / vit-micro" not in shown


def test_unknown_format_names_the_nearest(results, tmp_path):
    with pytest.raises(InputError, match=r"unknown report format 'markdwn' \(did you mean 'markdown'\?\)"):
        write_reports(results, tmp_path, ["markdwn"])
    assert "markdown" in FORMATS


@pytest.mark.parametrize(("width", "whole"), [(40, False), (60, True), (120, True)])
def test_room_that_columns_leave_goes_to_labels_that_would_be_wrapped(width, whole):
    label = "a-first-method of three words - a-second-method of three words"[: 62 if width == 120 else 40]
    table = Table("t", "Pairs", ("pair",), (Column("p", ("p",)),), (Row((label,), (label,), (Cell(0.5),)),))
    assert (label in text(terminal_table(table), width=width)) == whole
