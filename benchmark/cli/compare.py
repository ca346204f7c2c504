"""The command that compares a run with published numbers, or sums up published numbers on their own."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from calbench.benchmark.cli.options import ResultsDir, takes
from calbench.benchmark.cli.stored import check_stored
from calbench.benchmark.config.references import check_reference
from calbench.benchmark.core.console import Console
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.text import csv_safe
from calbench.benchmark.execution.options import RunOptions

if TYPE_CHECKING:
    import pandas as pd

    from calbench.benchmark.report.tables.table import Table

app = typer.Typer()

Format = Literal["terminal", "markdown", "latex", "csv"]


@dataclass(frozen=True)
class Published:
    """The published numbers to compare with or to sum up, and how to print what comes out."""

    reference: Annotated[str, typer.Option(help="Published numbers: a name such as calattn2026, or a CSV file.")] = ""
    method: Annotated[str, typer.Option(help="Without SUITE: the method whose gains are summed up.")] = ""
    drop_suspect: Annotated[bool, typer.Option("--drop-suspect", help="Without SUITE: leave suspect cells out.")] = (
        False
    )
    ranks: Annotated[
        bool, typer.Option("--ranks", help="With SUITE: only the ranks by our and by the published values.")
    ] = False
    as_: Annotated[
        list[str], typer.Option("--as", help="OURS=THEIRS: compare our dataset OURS with numbers published on THEIRS.")
    ] = field(default_factory=list)
    format_: Annotated[Format, typer.Option("--format", help="How to print the table.")] = "terminal"


@app.command()
@takes("published", Published)
def compare(
    published: Published,
    suite: Annotated[
        str, typer.Argument(metavar="[SUITE]", help="A suite with results; without it, the reference.")
    ] = "",
    results_dir: ResultsDir = RunOptions.results_dir,
) -> int:
    """Compare a finished run with published numbers: ours, theirs, difference, whether theirs is in our interval.

    Below are the ranks of the entries by our values and by theirs, over the same cells (not with --format csv).

    Without SUITE, sum up the published numbers on their own: how often, over all cells and not only the best, the
    method is better and worse, and by how much.
    """
    if suite and (published.method or published.drop_suspect):
        raise InputError("compare: --method and --drop-suspect sum up a reference; leave out the suite")
    if published.reference:
        check_reference(published.reference)
    if suite:
        check_stored(suite, results_dir)
        return _with_published(suite, published, results_dir)
    if published.ranks or published.as_:
        option = "--ranks" if published.ranks else "--as"
        raise InputError(f"compare: {option} compares a suite with a reference; name a suite")
    if not published.reference:
        raise InputError("compare: name a suite that was run, or published numbers with --reference")
    return _published_only(published)


def _with_published(suite: str, asked: Published, results_dir: str) -> int:
    from calbench.benchmark.cli.reports import load_suite_results
    from calbench.benchmark.report.report import Report
    from calbench.benchmark.report.tables.reference import reference_table, under_other_names
    from calbench.benchmark.report.tables.reference_ranks import rank_table
    from calbench.benchmark.results.reference import describe

    results = load_suite_results(suite, results_dir)
    name, format_, ranks = asked.reference or results.run.config.reference, asked.format_, asked.ranks
    if not name:
        raise InputError(f"compare: the suite {suite} names no published numbers; name some with --reference")
    report = Report(results)
    view = report.view if name.endswith(".csv") else report.views(describe(name).split)
    published, notes = under_other_names(report.reference(name), asked.as_, view)
    notes += _cautions(name)
    values, ranked = report.remarked(reference_table(view, published)), rank_table(view, published)
    if ranks and ranked is None:
        raise InputError(f"compare: {suite} and {name} have no two entries of the same dataset and backbone in common")
    if ranked is None or (format_ == "csv" and not ranks):
        _print(values, format_, notes)
        return 0
    if not ranks:
        _print(values, format_, [])
    _print(report.remarked(ranked), format_, notes)
    return 0


def _published_only(asked: Published) -> int:
    from calbench.benchmark.report.tables.reference import summary_table
    from calbench.benchmark.results.reference import describe, gains, load_reference, summary

    reference = asked.reference
    published = load_reference(reference)
    if not asked.method and reference.endswith(".csv"):
        raise InputError("compare: name the method to sum up with --method")
    method = asked.method or describe(reference).method
    pairs = gains(published, method)
    doubtful = pairs[pairs["suspect"]]
    if asked.drop_suspect:
        pairs = pairs[~pairs["suspect"]]
        if pairs.empty:
            raise InputError(f"compare: every cell with {method!r} looks suspect")
    notes = _suspect_notes(doubtful, asked.drop_suspect)
    table = summary_table(summary(pairs), method, ", ".join(published["source"].unique()))
    _print(table, asked.format_, notes + _cautions(reference))
    return 0


LISTED = 20
"""Suspect cells that are listed one by one."""


def _suspect_notes(cells: "pd.DataFrame", dropped: bool) -> list[str]:
    """How many cells look wrong in the source, and which."""
    if cells.empty:
        return []
    lines = [f"{len(cells)} suspect cells are {'left out' if dropped else 'among these'}:"]
    for row in cells.head(LISTED).to_dict("records"):
        where = f"{row['dataset']} / {row['backbone']}, {row['base']}, then {row['then']}"
        lines.append(f"  {where}: {row['metric']} {row['without']:g} without the method, {row['with']:g} with it")
    return lines + ([f"  and {len(cells) - LISTED} more"] if len(cells) > LISTED else [])


def _cautions(reference: str) -> list[str]:
    from calbench.benchmark.results.reference import describe

    return [] if reference.endswith(".csv") else describe(reference).cautions


def _print(table: "Table", format_: Format, notes: list[str]) -> None:
    """Print a table; for people with its caption and notes below it."""
    from calbench.benchmark.report.render.latex import latex
    from calbench.benchmark.report.render.markdown import escape, markdown
    from calbench.benchmark.report.render.terminal import terminal_table

    if format_ == "terminal":
        console = Console(highlight=False)
        console.print(terminal_table(table))
        for note in notes:
            console.print(note, markup=False, style="dim", soft_wrap=not console.is_terminal)  # between words
    elif format_ == "markdown":
        print(markdown(table), "".join(f"- {escape(note)}\n" for note in notes), sep="\n", end="")
    else:
        print(latex(table) if format_ == "latex" else csv_safe(table.frame()).to_csv(index=False), end="")
