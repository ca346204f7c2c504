"""Whatever a table cannot show has a reason in every output; ranks over datasets and their adjusted p values."""

import io
import re
from html import unescape

import numpy as np
import pandas as pd
import pytest
from fast_set import fast_only
from rich.console import Console
from scipy.stats import rankdata, wilcoxon

from calbench.benchmark.config.table_layout import parse_layout
from calbench.benchmark.report.render.latex import escape, latex
from calbench.benchmark.report.render.markdown import escape as escape_markdown
from calbench.benchmark.report.render.markdown import markdown
from calbench.benchmark.report.render.notebook import html_table
from calbench.benchmark.report.render.page import page
from calbench.benchmark.report.render.page_splits import split_data
from calbench.benchmark.report.render.terminal import TerminalTable
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.layout import layout_table
from calbench.benchmark.report.tables.ood import ood_tables
from calbench.benchmark.report.tables.shift import shift_tables
from calbench.benchmark.report.tables.table import DOES_NOT_APPLY, Cell, Column, Row, Table
from calbench.benchmark.report.tables.views import Views
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


@pytest.fixture(scope="module", params=fast_only((interval, whole_cell, rank), CASES), ids=lambda case: case.__name__)
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


def gaps(builder):
    """A run with every kind of gap: a failed cell, a failed seed, no truth, no published number, shifts, no score."""
    results = builder(
        entries=ENTRIES, seeds=(0, 1), missing=[("digits", "vit-micro", "focal")],
        failed_seeds=[("overlap", "swin-micro", "calattn", 1)],
        shifts=("shift-severity-1", "shift-severity-5", "ood-near", "ood-far"),
        config={"tables": [LAYOUT]},
    )  # fmt: skip
    texts = ["interval_reason", "change_reason", "reduction_reason"]
    results.comparisons[texts] = results.comparisons[texts].astype(object)
    table = results.table
    drop = (table["entry"] == "calattn") & (table["metric"] == "auroc-energy") & (table["dataset"] == "digits")
    drop |= (table["entry"] == "focal") & (table["split"] == "shift-severity-5") & (table["backbone"] == "vit-micro")
    results.table = table[~drop]
    gone = results.comparisons
    drop = (gone["entry"] == "calattn") & (gone["metric"] == "auroc-energy") & (gone["dataset"] == "digits")
    drop |= (gone["entry"] == "focal") & (gone["split"] == "shift-severity-5") & (gone["backbone"] == "vit-micro")
    results.comparisons = gone[~drop]
    return without(results, "ece", "the replicates contain 0", "reduction", "reduction_low", "reduction_high")


LAYOUT = {
    "name": "own", "columns": ["dataset", "backbone"], "intervals": True,
    "show": ["value", "change", "reduction", "paired-reduction", "published", "difference", "median"],
    "pair": {"calibrator": "none"},
}  # fmt: skip


def every_table(results):
    """The tables of the leaderboard, those of the suite's layouts, of shifts and of detection."""
    report = Report(results)
    views = Views(results)
    reference = pd.DataFrame(columns=["source", "dataset", "backbone", "entry", "metric", "value", "suspect", "note"])
    own = layout_table(views, parse_layout(LAYOUT), reference)
    return {table.key: table for table in (*report.tables.values(), *shift_tables(views), *ood_tables(views), own)}


def unexplained_markdown(table):
    """The cells that are empty or a dash without a footnote, or whose sign the legend lacks."""
    text = markdown(table)
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    cells = [cell.strip() for line in lines for cell in line.strip("|").split("|")[len(table.row_heads) :]]
    return [cell for cell in cells if cell in ("", "–") or (cell == "·" and f"·: {DOES_NOT_APPLY[1][:20]}" not in text)]


def unexplained_latex(table):
    text = latex(table)
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    bad = [line for line in body.splitlines() if re.search(r"\{--\}(?! & \\textsuperscript)", line)]
    return bad + ([] if r"$\cdot$" not in body or "does not apply" in text else ["no legend"])


def unexplained_csv(table):
    frame = table.frame()
    keys = [column.key for column in table.columns]
    empty = frame[keys].isna() | (frame[keys] == "")
    return frame[empty.any(axis=1) & (frame["notes"] == "") & (frame["marks"] == "")].to_dict("records")


def unexplained_terminal(table):
    console = Console(file=io.StringIO(), width=2000)
    console.print(TerminalTable(table))
    text = console.file.getvalue()
    return re.findall(r"│ +│|– +│", text) + [note for note in table.footnotes if note not in " ".join(text.split())]


def unexplained_html(table):
    """Of a notebook."""
    return re.findall(r"<td[^>]*>(?:–|\s*)</td>", html_table(table))


FORMATS = {
    "markdown": unexplained_markdown, "latex": unexplained_latex, "csv": unexplained_csv,
    "terminal": unexplained_terminal, "notebook": unexplained_html,
}  # fmt: skip


@pytest.fixture(scope="module")
def tables(builder):
    return every_table(gaps(builder))


@pytest.mark.parametrize("name", fast_only({"csv", "terminal"}, FORMATS))
def test_no_cell_of_any_table_is_empty_without_a_reason(tables, name):
    assert {"own", "overall", "overall-ece", "shift-ece", "ood-auroc", "digits-vit-micro"} <= set(tables)
    assert {key: found for key, table in tables.items() if (found := FORMATS[name](table))} == {}


def test_no_cell_of_the_page_is_empty_without_a_reason(builder):
    results = gaps(builder)
    text = page(Report(results))
    cells = re.findall(r'<td data-label="[^>]*>(.*?)</td>', text)
    assert len(cells) > 100
    for cell in cells:
        if re.search(r'<abbr title="[^"]+">–</abbr>', cell):
            continue
        shown = re.sub(r"<[^>]+>", "", cell).strip()
        assert shown not in ("", "–"), cell
    assert "does not apply to this row" in text
    parts = split_data(Views(results))["parts"]
    values = [value for part in parts for row in part["rows"] for value in row[3:]]
    gone = [value for value in values if value[0] is None]
    assert gone
    assert all(len(value) == 4 and value[3] for value in gone)


def test_a_table_gives_a_reason_where_its_maker_has_none():
    columns = (Column("a", ("a",)), Column("b", ("b",), interval=True))
    full, empty = Row(("x",), ("x",), (Cell(1.0), Cell(1.0, 0.5, 1.5))), Row(("y",), ("y",), (Cell(), Cell(2.0)))
    table = Table("t", "t", ("entry",), columns, (full, empty))
    assert table.rows[0] == full
    assert [cell.notes for cell in table.rows[1].cells] == [("not in the results",), ("no interval in the results",)]
    blank = (Cell(text=""), Cell(text=""))
    rows = (Row(("y",), ("y",), blank), Row(("z",), ("z",), blank, "baseline"))
    table = Table("t", "t", ("entry",), columns, rows)
    assert [cell.notes for cell in table.rows[0].cells] == [("not in the results",)] * 2
    assert [cell.text for cell in table.rows[1].cells] == [DOES_NOT_APPLY[0]] * 2
    assert table.legend() == [": ".join(DOES_NOT_APPLY)]


def ranks_of(results):
    """Average ranks of the ECE over datasets, and p values by Wilcoxon and Holm, each by its definition."""
    ece = results.table.query("metric == 'ece'").groupby(["dataset", "backbone", "entry"])["value"].mean()
    blocks = ece.groupby(["dataset", "entry"]).mean().unstack()[list(ENTRIES)]
    ranks = dict(zip(ENTRIES, rankdata(blocks.to_numpy(), axis=1).mean(0), strict=True))
    p = {entry: wilcoxon(blocks[entry], blocks["cross-entropy"]).pvalue for entry in ENTRIES[1:]}
    low, high = sorted(p, key=p.get)
    adjusted = {low: float(min(1, 2 * p[low]))}
    return ranks, adjusted | {high: float(max(adjusted[low], p[high]))}


@pytest.mark.slow
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
        assert found.text == "·" if row.kind == "baseline" else found.value == pytest.approx(adjusted[row.names[0]])
    assert "over 8 datasets" in table.caption
    assert f",{adjusted['focal']!r}," in OUTPUTS["csv"][0](report)
    for output in ("terminal", "markdown", "page"):
        text = OUTPUTS[output][0](report)
        assert f"{adjusted['focal']:.3f}" in text
        assert "adjusted for the entries (Holm)" in text.replace("\\", "")


@pytest.mark.slow
def test_nothing_is_tested_below_six_datasets(builder):
    names = tuple(f"data-{letter}" for letter in "abcde")
    table = Report(builder(datasets=names, entries=ENTRIES, seeds=(0,), oracle=False)).table("overall-ece")
    assert "rank_p" not in [column.key for column in table.columns]
    assert "not tested: 5 datasets are too few" in table.caption


def test_the_page_tells_a_missing_interval_from_a_missing_value(builder):
    results = without(build(builder), "ece", "no upper end here", "reduction_low", "reduction_high")
    columns = ["change", "change_low", "change_high"]
    text = page(Report(without(results, "nll", "all replicates failed", *columns, entry="calattn")))
    assert '<abbr class="interval" title="no upper end here">no interval</abbr>' in text
    assert "<p>no interval: no upper end here</p>" in text
    names = " ".join(re.findall(r'<td class="name".*?</td>', text, re.DOTALL))
    assert "no upper end here" not in names
    assert "all replicates failed" in names
