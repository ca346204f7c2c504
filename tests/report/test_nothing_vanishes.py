"""Whatever a table cannot show has a reason in every output; ranks over datasets and their adjusted p values."""

import io
from html import unescape

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import rankdata, wilcoxon

from calbench.benchmark.report.render.latex import escape
from calbench.benchmark.report.render.markdown import escape as escape_markdown
from calbench.benchmark.report.render.page import page
from calbench.benchmark.report.render.terminal import TerminalTable
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.table import Cell, Column, Row, Table
from calbench.benchmark.report.write import leaderboard_csv, leaderboard_latex, leaderboard_markdown

ENTRIES = ("cross-entropy", "focal", "calattn")


def build(builder, **changes):
    results = builder(backbones=("vit-micro",), entries=ENTRIES, seeds=(0,), oracle=False, **changes)
    texts = ["interval_reason", "change_reason", "reduction_reason"]
    results.comparisons[texts] = results.comparisons[texts].astype(object)
    return results


def without(results, metric, text, *columns, entry="focal"):
    """The results in which `columns` of an entry's comparisons are missing, for the reason `text`."""
    rows = (results.comparisons["entry"] == entry) & (results.comparisons["metric"] == metric)
    results.comparisons.loc[rows, list(columns)] = np.nan
    results.comparisons.loc[rows, [f"{part}_reason" for part in ("interval", "change", "reduction")]] = text
    return results


def interval(builder):
    return without(build(builder), "ece", "one run & no replicates", "low", "high"), "one run & no replicates"


def change_interval(builder):
    results = without(build(builder), "nll", "two of three seeds failed", "change_low", "change_high")
    return results, "two of three seeds failed"


def reduction(builder):
    results = without(build(builder), "ece", "the replicates contain 0", "reduction", "reduction_low", "reduction_high")
    return results, "the replicates contain 0"


def change(builder):
    columns = ("change", "change_low", "change_high", "reduction", "reduction_low", "reduction_high")
    return without(build(builder), "nll", "no seed in common", *columns), "no seed in common"


def whole_cell(builder):
    return build(builder, missing=[("digits", "vit-micro", "focal")]), "failed: the loss is not finite (seed 0)"


def average_over_fewer(builder):
    return build(builder, missing=[("digits", "vit-micro", "focal")]), "missing: digits / vit-micro"


def rank(builder):
    return build(builder, missing=[("digits", "vit-micro", "focal")]), "ranks need a value in every cell"


CASES = [interval, change_interval, reduction, change, whole_cell, average_over_fewer, rank]


def terminal(report):
    console = Console(file=io.StringIO(), width=400)
    for block in report.blocks:
        console.print(TerminalTable(block.table))
    return console.file.getvalue()


OUTPUTS = {
    "terminal": (terminal, str),
    "markdown": (leaderboard_markdown, escape_markdown),
    "latex": (leaderboard_latex, escape),
    "csv": (lambda report: "\n".join(leaderboard_csv(report).values()), str),
    "page": (lambda report: unescape(page(report)), str),
}


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.__name__)
def case(request, builder):
    """A report with something missing, and the reason."""
    results, reason = request.param(builder)
    return Report(results), reason


@pytest.mark.parametrize("output", OUTPUTS)
def test_the_reason_of_what_is_missing_is_in_every_output(case, output):
    report, reason = case
    render, escaped = OUTPUTS[output]
    assert escaped(reason) in render(report)


def test_every_empty_cell_of_every_table_refers_to_a_footnote(case):
    for table in case[0].tables.values():
        for row in table.rows:
            for cell in row.cells:
                assert not cell.missing or table.letters(cell), f"{table.key}: {row.names[0]}"


def test_a_table_gives_a_reason_where_its_maker_has_none():
    columns = (Column("a", ("a",)), Column("b", ("b",), interval=True))
    full, empty = Row(("x",), ("x",), (Cell(1.0), Cell(1.0, 0.5, 1.5))), Row(("y",), ("y",), (Cell(), Cell(2.0)))
    table = Table("t", "t", ("entry",), columns, (full, empty))
    assert table.rows[0] == full
    assert [cell.notes for cell in table.rows[1].cells] == [("not in the results",), ("no interval in the results",)]


def ranks_of(results):
    """Average ranks of the ECE over datasets, and p values by Wilcoxon and Holm, each by its definition."""
    ece = results.table.query("metric == 'ece'").groupby(["dataset", "backbone", "entry"])["value"].mean()
    blocks = ece.groupby(["dataset", "entry"]).mean().unstack()[list(ENTRIES)]
    ranks = dict(zip(ENTRIES, rankdata(blocks.to_numpy(), axis=1).mean(0), strict=True))
    p = {entry: wilcoxon(blocks[entry], blocks["cross-entropy"]).pvalue for entry in ENTRIES[1:]}
    low, high = sorted(p, key=p.get)
    adjusted = {low: float(min(1, 2 * p[low]))}
    return ranks, adjusted | {high: float(max(adjusted[low], p[high]))}


def test_ranks_over_eight_datasets_have_adjusted_p_values_in_every_output(builder):
    names = tuple(f"data-{letter}" for letter in "abcdefgh")
    results = builder(datasets=names, entries=ENTRIES, seeds=(0,), oracle=False)  # with two backbones each
    report = Report(results)
    table = report.table("overall-ece")
    keys = [column.key for column in table.columns]
    ranks, adjusted = ranks_of(results)
    for row in table.rows:
        assert row.cells[keys.index("average_rank")].value == pytest.approx(ranks[row.names[0]])
        found = row.cells[keys.index("rank_p")]
        assert found.text == "" if row.kind == "baseline" else found.value == pytest.approx(adjusted[row.names[0]])
    assert "over 8 datasets" in table.caption
    assert f",{adjusted['focal']!r}," in OUTPUTS["csv"][0](report)
    for output in ("terminal", "markdown", "page"):
        text = OUTPUTS[output][0](report)
        assert f"{adjusted['focal']:.3f}" in text
        assert "adjusted for the entries (Holm)" in text.replace("\\", "")


def test_nothing_is_tested_below_six_datasets(builder):
    names = tuple(f"data-{letter}" for letter in "abcde")
    table = Report(builder(datasets=names, entries=ENTRIES, seeds=(0,), oracle=False)).table("overall-ece")
    assert "rank_p" not in [column.key for column in table.columns]
    assert "not tested: 5 datasets are too few" in table.caption
