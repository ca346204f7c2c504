"""The tables over all cells: their order, intervals, what they leave out, and what the terminal shows at a width."""

import io
import math
import re

import numpy as np
import pytest
from rich.console import Console

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.report.render.latex import latex
from calbench.benchmark.report.render.terminal import TerminalTable
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.combine import mean_over_cells
from calbench.benchmark.report.tables.table import Cell, Column, Row, Table


def changed(results, entry, metric, **values):
    """The results with columns of an entry's comparisons of a metric set to `values`."""
    rows = (results.comparisons["entry"] == entry) & (results.comparisons["metric"] == metric)
    for name, value in values.items():
        results.comparisons.loc[rows, name] = value
    return results


def cell(table, entry, key):
    index = [column.key for column in table.columns].index(key)
    return next(row for row in table.rows if row.names[0] == entry).cells[index]


def printed(table, width):
    console = Console(file=io.StringIO(), width=width)
    console.print(TerminalTable(table))
    return console.file.getvalue()


def test_the_order_is_the_mean_nll_and_the_ece_where_asked(builder):
    results = builder()
    nll = (results.comparisons["entry"] == "focal") & (results.comparisons["metric"] == "nll")
    results.comparisons.loc[nll, "value"] = 0.001
    by_nll, by_ece = Report(results), Report(results, order="ece")
    assert by_nll.summary.rows[0].names == ("focal",)
    assert by_ece.summary.rows[0].names == ("cross-entropy + temperature-scaling",)
    assert "disagree on" in by_nll.summary.caption
    assert "NLL puts focal first" in by_nll.summary.caption
    with pytest.raises(InputError, match=r"unknown metric 'eec' \(did you mean 'ece'\?\)"):
        Report(results, order="eec")


def test_the_improvement_in_nll_is_the_mean_over_cells_with_its_interval(results):
    part = results.comparisons.query("metric == 'nll' and entry == 'focal'")
    shown = cell(Report(results).summary, "focal", "nll_improvement")
    assert shown.value == pytest.approx(-part["change"].mean())
    assert shown.low < shown.value < shown.high
    base = results.comparisons.query("metric == 'nll' and entry == 'cross-entropy'")["value"].mean()
    assert cell(Report(results).summary, "focal", "nll_reduction").value == pytest.approx(
        100 * (1 - part["value"].mean() / base)
    )


def test_cells_of_one_dataset_move_together_and_datasets_apart():
    same = mean_over_cells([("a", 1.0, 0.0, 2.0), ("a", 1.0, 0.0, 2.0)])
    apart = mean_over_cells([("a", 1.0, 0.0, 2.0), ("b", 1.0, 0.0, 2.0)])
    assert (same.low, same.high) == (0.0, 2.0)
    assert apart.high - 1 == pytest.approx(1 / math.sqrt(2))
    assert mean_over_cells([("a", 1.0, None, None)])[1:] == (None, None)
    assert mean_over_cells([]).value is None


def test_the_interval_of_a_mean_covers_by_simulation():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        shared = rng.standard_normal(3)  # the error that the two backbones of a dataset share
        cells = [(str(d), shared[d], shared[d] - 1.96, shared[d] + 1.96) for d in range(3) for _ in range(2)]
        mean = mean_over_cells(cells)
        hits += mean.low <= 0 <= mean.high
    assert 0.93 < hits / 2000 < 0.97


@pytest.mark.slow
def test_no_reduction_where_the_baseline_is_within_its_noise(builder):
    results = builder()
    rows = (results.comparisons["entry"] == "cross-entropy") & (results.comparisons["metric"] == "ece")
    digits = rows & (results.comparisons["dataset"] == "digits")
    results.comparisons.loc[digits, "calibrated"] = True
    report = Report(results)
    assert cell(report.table("digits-vit-micro"), "focal", "reduction").text == "in noise"
    assert cell(report.table("overlap-vit-micro"), "focal", "reduction").value is not None
    assert "Reductions leave out 2 of 4 cells" in report.summary.caption
    kept = results.comparisons.query("metric == 'ece' and dataset == 'overlap'")
    means = kept.groupby("entry")["value"].mean()
    expected = 100 * (1 - means["focal"] / means["cross-entropy"])
    assert cell(report.summary, "focal", "reduction").value == pytest.approx(expected)
    results.comparisons.loc[rows, "calibrated"] = True
    assert cell(Report(results).summary, "focal", "reduction").text == "in noise"


@pytest.mark.slow
def test_debiased_errors_are_shown_and_reduced(builder):
    results = changed(builder(), "focal", "ece", debiased=-0.5)
    changed(results, "cross-entropy", "ece", debiased=4.0)
    summary = Report(results).summary
    assert cell(summary, "focal", "debiased").value == 0
    assert cell(summary, "focal", "reduction").value == pytest.approx(100)


@pytest.mark.slow
def test_a_missing_interval_has_its_reason(builder):
    results = builder()
    results.comparisons = results.comparisons.assign(interval_reason="")
    changed(results, "focal", "ece", low=np.nan, high=np.nan, interval_reason="one sample only")
    table = Report(results).table("digits-vit-micro")
    assert cell(table, "focal", "ece").notes == ("one sample only",)
    assert "one sample only" in table.footnotes


@pytest.mark.slow
def test_a_missing_interval_of_a_mean_has_its_reason(builder):
    results = builder()
    results.comparisons = results.comparisons.assign(interval_reason="")
    changed(results, "focal", "ece", low=np.nan, high=np.nan, interval_reason="a resample has no value")
    shown = cell(Report(results).summary, "focal", "mean")
    assert shown.value is not None
    assert shown.low is None
    assert any("no interval of the mean" in note and "a resample has no value" in note for note in shown.notes)


def test_chosen_entries_come_with_the_baseline(results):
    report = Report(results, entries=["focal", "calattn"])
    assert {row.names[0] for row in report.summary.rows} == {"cross-entropy", "focal", "calattn"}
    with pytest.raises(InputError, match="unknown entry 'focall'"):
        Report(results, entries=["focall"])


@pytest.mark.slow
def test_at_80_columns_whole_columns_go_and_are_named(results):
    for block in Report(results).blocks:
        table = block.table
        for width in (60, 80, 100, 120, 200):
            shown = printed(table, width)
            assert max(map(len, shown.splitlines())) <= width
            for row in table.rows:
                column, value = table.columns[0], row.cells[0]
                text = column.number(value.value) if value.text is None else value.text
                assert text in shown
    summary = Report(results).summary
    narrow, wide = printed(summary, 80), printed(summary, 200)
    note = " ".join(narrow.partition("Columns left out at this width")[2].split())
    assert "left out" not in wide.replace("Reductions leave out", "")
    assert "Accuracy (%)" in note
    whole = int(re.match(r"\(a window of (\d+) characters, or COLUMNS=\1 before the command, shows all\): ", note)[1])
    assert 80 < whole <= 200
    assert "at this width" not in printed(summary, whole)
    assert "at this width" in printed(summary, whole - 1)


def test_numbers_of_a_column_end_at_one_place():
    cells = (Cell(1.5), Cell(-200.25, marks=("same",)), Cell(text="baseline"))
    rows = tuple(Row((f"m{i}",), (f"m{i}",), (each,)) for i, each in enumerate(cells))
    table = Table("t", "T", ("entry",), (Column("x", ("x",), decimals=2),), rows)
    lines = [line for line in printed(table, 60).splitlines() if line.startswith("m")]
    ends = [lines[0].rstrip().__len__(), lines[1].index("~") - 1, len(lines[2].rstrip())]
    assert ends[0] == ends[1] == ends[2]


def test_latex_names_the_columns_that_do_not_fit(results):
    text = latex(Report(results).summary)
    assert "Not shown: " in text
    body = text[text.index(r"\midrule") :]
    assert len({line.count(" & ") for line in body.splitlines() if line.endswith(r"\\")}) == 1


@pytest.mark.slow
def test_a_smoke_test_says_so_in_every_table_and_figure(builder, tmp_path):
    from calbench.benchmark.report.figures.base import draw

    report = Report(builder(smoke=True))
    assert all(table.title.startswith("SMOKE TEST: ") for table in report.tables.values())
    assert report.protocol[0].startswith("SMOKE TEST")
    (drawn,) = draw(report, ["reductions"])
    assert drawn.stem == "SMOKE-reductions"
    assert drawn.caption.startswith("SMOKE ")


@pytest.mark.slow
def test_the_terminal_names_once_what_all_rows_share_and_says_where_intervals_are_left_out(builder):
    report = Report(builder(datasets=("digits",), shifts=("shift-severity-1", "shift-severity-5"), oracle=False))
    (table,) = [one for one in report.layouts if one.key == "shift-ece"]
    shown = printed(table, 80)
    assert shown.strip().startswith("ECE under shift (dataset: digits)")
    assert shown.count("digits") == 1
    (cells,) = [block.table for block in report.blocks if block.backbone == "vit-micro"]
    texts = (" ".join(printed(cells, width).split()) for width in range(90, 250))
    shown = next(text for text in texts if "Columns left out" not in text)
    assert re.search(r"intervals at this width \(a window of \d+ characters, .*, shows them\): NLL improvement", shown)
    bare = " ".join(printed(cells, 70).partition("Without their intervals at this width:")[2].split())
    assert bare.startswith("NLL improvement (nats)")
    assert "Without their intervals" not in printed(cells, 250)
