"""The work of the commands ``report`` and ``plot``: write or print reports of stored results; nothing is recomputed."""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from calbench.benchmark.cli.options import place
from calbench.benchmark.cli.stored import check_stored, folder_name
from calbench.benchmark.config.table_layout import load_layout
from calbench.benchmark.core.console import Console
from calbench.benchmark.core.errors import InputError, check_names
from calbench.benchmark.core.schema import COMPARISON_COLUMNS, KEY_COLUMNS, RESULT_COLUMNS, RESULT_SCHEMA, conform
from calbench.benchmark.core.text import counted, csv_safe
from calbench.benchmark.report.render.latex import latex
from calbench.benchmark.report.render.markdown import markdown
from calbench.benchmark.report.render.terminal import render_terminal, terminal_table
from calbench.benchmark.report.report import DEFAULT_ORDER, Report
from calbench.benchmark.report.tables.layout import layout_table
from calbench.benchmark.report.tables.table import Table
from calbench.benchmark.report.write import (
    latex_head,
    leaderboard_latex,
    leaderboard_markdown,
    write_figures,
    write_reports,
)
from calbench.benchmark.results.records import RunRecord
from calbench.benchmark.results.results import Results
from calbench.benchmark.results.tables import read_table
from calbench.benchmark.store.folder import Folder

if TYPE_CHECKING:
    from calbench.benchmark.report.figures.base import Look


def load_suite_results(suite: str, results_dir: str) -> Results:
    """The stored results of a suite (a name, or the path of its YAML file) in a local folder or at an fsspec address.

    A line on the terminal names files that were edited, whatever is made of them.

    Raises:
        InputError: the suite was not run, or its files are damaged or of another version.
    """
    check_stored(suite, results_dir)
    with Folder(results_dir, make=False).fetched(folder_name(suite)) as folder:
        results = Results.load(folder)
    if results.edit_note:
        Console(stderr=True).print(f"calbench: {results.edit_note}", style="yellow", soft_wrap=True)
    return results


def external_results(path: Path, baseline: str) -> Results:
    """Results from a user's tidy table: columns dataset, backbone, entry, metric and value; others are optional.

    Raises:
        InputError: a column is missing, a value is not a number or is listed twice, or the baseline is not an entry.
    """
    if path.is_dir():
        run = f"calbench report {path.name} --results-dir {path.parent}"
        remedy = f"for this one use `{run}`" if (path / "run.json").is_file() else "give a CSV file"
        raise InputError(f"report: --results {path} is a folder, and a CSV file is expected; {remedy}")
    table = read_table(path, ["dataset", "backbone", "entry", "metric", "value"])
    if baseline:
        check_names("baseline", [baseline], dict.fromkeys(table["entry"]))
    columns = list(table.columns)
    table = table.reindex(columns=list(dict.fromkeys([*RESULT_COLUMNS[:12], *columns])))
    table = conform(table, RESULT_SCHEMA, path.name)
    table = table.astype({"split": object, "checkpoint": object}).fillna({"split": "test", "checkpoint": "unknown"})
    twice = table.index[table.duplicated(KEY_COLUMNS)]
    if len(twice):
        row = table.loc[twice[:1], [column for column in KEY_COLUMNS if column in columns]].iloc[0]
        raise InputError(f"{path.name}, line {twice[0] + 2}: {_described(row)} is listed twice")
    run = RunRecord(suite=path.stem, title=path.stem, baseline=baseline or None)
    return Results(table, pd.DataFrame(columns=COMPARISON_COLUMNS), run)


def _described(row: pd.Series) -> str:
    return ", ".join(f"{name} {value}" for name, value in row.dropna().items())


def report_command(
    suite: str,
    results_dir: str,
    results: Path | None,
    baseline: str,
    metric: str,
    format_: str,
    table: str,
    order: str = DEFAULT_ORDER,
    entries: tuple[str, ...] = (),
) -> int:
    """Write the reports of a suite, or print one table or format of it.

    Args:
        suite: the suite's name; empty with `results`.
        results_dir: the folder of all suites' results, local or an fsspec address.
        results: a tidy CSV in place of a suite.
        baseline: with `results`, the entry that reductions refer to.
        metric: the calibration error whose reductions are shown.
        format_: ``all`` and ``html`` write files; the others print.
        table: only one table: a layout of the suite, a layout's YAML file, ``overall``, or ``dataset-backbone``.
        order: the metric by which tables are ordered.
        entries: the entries that tables show, with the baseline; all by default.

    Raises:
        InputError: an unknown suite, table or metric.
    """
    loaded = external_results(results, baseline) if results else load_suite_results(suite, results_dir)
    report = Report(loaded, metric=metric, order=order, entries=entries)
    if table:
        _print(_text(_table(report, table), report, format_))
    elif format_ == "terminal" or (results and format_ == "all"):
        Console(highlight=False).print(render_terminal(report))
    elif format_ in ("markdown", "latex"):
        _print((leaderboard_markdown if format_ == "markdown" else leaderboard_latex)(report))
    elif format_ == "csv":
        frames = [b.frame.assign(dataset=b.dataset or "all", backbone=b.backbone or "all") for b in report.blocks]
        _print(csv_safe(pd.concat(frames)).to_csv(index=False))
    elif results:
        raise InputError("report: --format html needs a suite")
    else:
        name = folder_name(suite)
        with Folder(results_dir).publishing(name) as folder:
            written = write_reports(report, folder, ["html"]) if format_ == "html" else write_reports(report, folder)
        names = ", ".join(path.relative_to(folder).as_posix() for path in written)
        Console(highlight=False).print(f"written to {place(results_dir, name)}: {names}", markup=False, soft_wrap=True)
    return 0


def plot_command(suite: str, results_dir: str, figures: list[str], look: "Look | None" = None) -> int:
    """Draw figures of a suite (all by default) into its ``figures`` folder, and a LaTeX document over all of them.

    Raises:
        InputError: the suite was not run, or an unknown figure or entry.
    """
    report, name = Report(load_suite_results(suite, results_dir)), folder_name(suite)
    with Folder(results_dir).publishing(name) as folder:
        written = (
            write_figures(report, folder, figures, look)
            if figures
            else write_reports(report, folder, ["document"], look)
        )
    Console(highlight=False).print(
        f"written to {place(results_dir, name)}: {counted(len(written), 'file')}", markup=False, soft_wrap=True
    )
    return 0


def _table(report: Report, name: str) -> Table:
    if name.endswith((".yaml", ".yml")):
        return report.remarked(layout_table(report.views, load_layout(Path(name))))
    return report.table(name)


def _text(table: Table, report: Report, format_: str) -> object:
    if format_ == "html":
        raise InputError("report: --table cannot be HTML; the page shows every table")
    forms = {
        "markdown": lambda: markdown(table),
        "latex": lambda: latex_head(report) + latex(table),
        "csv": lambda: csv_safe(table.frame()).to_csv(index=False),
    }
    return forms[format_]() if format_ in forms else terminal_table(table)


def _print(content: object) -> None:
    """Print plain text as it is, for a pipe; what rich renders, by rich."""
    if isinstance(content, str):
        print(content, end="")
    else:
        Console(highlight=False).print(content)
