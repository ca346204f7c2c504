"""The commands that run suites and write their reports: run, status, cache, report, plot."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Column, Table

from calbench.benchmark.cli.options import (
    NONE,
    Plugins,
    ResultsDir,
    SuiteOptions,
    load_plugins,
    place,
    takes_suite_options,
    wide_console,
)
from calbench.benchmark.cli.stored import check_stored
from calbench.benchmark.core.console import Console
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.text import counted
from calbench.benchmark.execution.options import CacheMode, RunOptions

if TYPE_CHECKING:  # the commands import what they need: --help should not wait for torch
    from calbench.benchmark.config.suite import Suite
    from calbench.benchmark.execution.cost import Cost
    from calbench.benchmark.execution.plan import Work
    from calbench.benchmark.results.results import Results

app = typer.Typer()
cache = typer.Typer(help="List, check and clean the stored predictions.", no_args_is_help=True)
app.add_typer(cache, name="cache")

SuiteName = Annotated[str, typer.Argument(metavar="SUITE", help="A name of `calbench list suites`, or a YAML file.")]


@app.command()
@takes_suite_options
def run(
    chosen: SuiteOptions,
    suite: SuiteName = "quick",
    jobs: Annotated[int, typer.Option(help="Worker processes; 0: one per GPU or core.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    cache: Annotated[
        CacheMode, typer.Option(help="Compute missing results (default), recompute all, or only read stored ones.")
    ] = "default",
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed cells again.")] = False,
    scheduler: Annotated[str, typer.Option(help="Address of a Dask scheduler, or slurm.")] = "",
    scheduler_options: Annotated[
        Path | None, typer.Option("--slurm-options", help="YAML file of dask-jobqueue's SLURMCluster options.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Write curves for TensorBoard.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and its estimated cost; compute nothing.")
    ] = False,
) -> int:
    """Run a suite: train what is missing, evaluate every entry, write the tables."""
    from calbench.benchmark.cli.sizes import write_suite_curves
    from calbench.benchmark.execution.produce import RANK
    from calbench.benchmark.execution.runner import run_suite

    options = chosen.run_options(
        jobs=jobs,
        device=device,
        cache=cache,
        retry_failed=retry_failed,
        scheduler=scheduler,
        scheduler_options=scheduler_options,
        tensorboard=tensorboard,
    )
    loaded = chosen.load(suite)
    if dry_run:
        return _dry_run(loaded, options)
    results = run_suite(loaded, options)
    if RANK == 0:
        write_and_show(results, chosen.results_dir)
        write_suite_curves(loaded, options)
    return 1 if any(cell.status != "done" for cell in results.run.cells) else 0


def _dry_run(suite: "Suite", options: RunOptions) -> int:
    from calbench.benchmark.execution.probe import probe_cell
    from calbench.benchmark.execution.runner import plan_suite, status
    from calbench.benchmark.store.store import Store

    def probe(work: "Work") -> "Cost":
        kind = f"{work.cell.dataset.spelled()} / {work.cell.backbone.spelled()}"
        Console(stderr=True, highlight=False).print(f"timing a few steps: {kind}", markup=False, soft_wrap=True)
        return probe_cell(work, options.data_root, options.device)

    store = Store(options.results_dir, make=False)
    plan = plan_suite(suite, options)
    found = status(plan, suite, store, options, probe)
    console = Console(highlight=False)
    for work in found.todo:
        console.print(f"{work.cell.key}  {work.cell.describe()}", markup=False, soft_wrap=True)
    console.print(f"{suite.name}: {found.line()}", markup=False, soft_wrap=True)
    return 0


def write_and_show(results: "Results", results_dir: str) -> None:
    """Write the reports of a run and show its leaderboard."""
    from calbench.benchmark.report import Report, render_terminal, write_reports
    from calbench.benchmark.report.findings import findings
    from calbench.benchmark.store.folder import Folder

    console, report = wide_console(), Report(results)
    console.print(render_terminal(report))
    for line in findings(results):
        console.print(line, markup=False, soft_wrap=not console.is_terminal)
    name = results.run.suite
    with Folder(results_dir).publishing(name) as folder:
        written = [path.relative_to(folder).as_posix() for path in write_reports(report, folder)]
    console.print(f"written to {place(results_dir, name)}: {', '.join(written)}", markup=False)


@app.command()
@takes_suite_options
def status(chosen: SuiteOptions, suite: SuiteName = "quick") -> int:
    """Show the progress of a suite, while it runs in another terminal or afterwards; with the same options as run."""
    from calbench.benchmark.execution.runner import plan_suite, status
    from calbench.benchmark.store.store import Store

    options, loaded = chosen.run_options(), chosen.load(suite)
    found = status(plan_suite(loaded, options), loaded, Store(chosen.results_dir, make=False), options)
    Console(highlight=False).print(f"{loaded.name}: {found.line()}", markup=False, soft_wrap=True)
    return 0


@cache.command("list")
def cache_list(results_dir: ResultsDir = RunOptions.results_dir) -> int:
    """List the cells in the store."""
    from calbench.benchmark.store.names import UnreadableError
    from calbench.benchmark.store.store import Store

    store = Store(results_dir, make=False)
    table = Table(Column("key", no_wrap=True, min_width=24), "cell", "state", "seconds", "MB")
    for key in store.cells():
        state, name, seconds = store.status(key), "", ""
        try:
            if state == "done":
                manifest = store.manifest(key)
                name, seconds = manifest.get("name", ""), f"{manifest.get('seconds', 0):.1f}"
            elif state == "failed":
                name = str(store.failure(key).get("name", ""))
        except UnreadableError:
            state = "unreadable"
        table.add_row(key, name, state, seconds, f"{store.bytes_of(key) / 1e6:.2f}")
    Console().print(table)
    return 0


@cache.command("verify")
def cache_verify(results_dir: ResultsDir = RunOptions.results_dir) -> int:
    """Read every stored file and report what is truncated, altered or from another version; status 1 if any is."""
    from calbench.benchmark.store.store import Store

    store, console = Store(results_dir, make=False), Console(highlight=False)
    findings = store.verify()
    removable = [finding for finding in findings if finding.remedy is not None]
    for finding in findings:
        console.print(f"{finding.key}: {finding.problem}", markup=False, soft_wrap=True)
    remedy = "; `calbench cache prune` removes them" if removable else ""
    console.print(f"{counted(len(store.cells()), 'cell')}, {len(findings)} damaged{remedy}")
    return 1 if findings else 0


@cache.command("prune")
@takes_suite_options
def cache_prune(
    chosen: SuiteOptions,
    keep: Annotated[list[str], typer.Option("--keep", help="Keep only the cells of this suite (repeatable).")] = NONE,
) -> int:
    """Remove damaged and failed cells and leftovers; with --keep, also every cell that those suites do not need.

    The options of a suite (--set, --entry, --seed, --smoke) apply to every suite of --keep.
    """
    from calbench.benchmark.execution.runner import plan_suite
    from calbench.benchmark.store.store import Store

    wanted = None
    if keep:
        plans = [plan_suite(chosen.load(name), chosen.run_options()) for name in keep]
        wanted = {work.cell.key for plan in plans for work in plan}
    removed = Store(chosen.results_dir, make=False).prune(wanted)
    Console(highlight=False).print(f"removed {counted(len(removed), 'cell')}")
    return 0


@cache.command("accept")
@takes_suite_options
def cache_accept(
    chosen: SuiteOptions,
    suite: Annotated[str, typer.Argument(help="A suite whose cells became stale by an edit of the source.")],
    reason: Annotated[str, typer.Option(help="Why the edit changes no result, for the record.")],
) -> int:
    """Declare that the edits since the stored cells of a suite were trained change no result, so that they stay valid.

    The declarations are written to benchmark/core/unchanged.yaml, to be reviewed and committed with the edit.
    """
    from calbench.benchmark.execution.accept import accept
    from calbench.benchmark.execution.runner import plan_suite
    from calbench.benchmark.store.store import Store

    plan = plan_suite(chosen.load(suite), chosen.run_options())
    edits = accept(plan, Store(chosen.results_dir), reason)
    console = Console(highlight=False)
    for edit in edits:
        console.print(f"{edit['part']}: {edit['new']} is declared equal to {edit['old']}", markup=False, soft_wrap=True)
    console.print(f"{counted(len(edits), 'declaration')} in unchanged.yaml: review and commit them")
    return 0


@app.command()
def report(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A suite that was run.")] = "",
    results_dir: ResultsDir = RunOptions.results_dir,
    results: Annotated[Path | None, typer.Option(help="A tidy CSV file of results instead of a suite.")] = None,
    baseline: Annotated[str, typer.Option(help="With --results: the entry that others are compared with.")] = "",
    metric: Annotated[str, typer.Option(help="The metric of the reductions.")] = "ece",
    format_: Annotated[
        Literal["all", "terminal", "markdown", "csv", "latex", "html"], typer.Option("--format", help="What to write.")
    ] = "all",
    table: Annotated[
        str, typer.Option(help="Print only this table: overall, overall-ece, or one of the suite's.")
    ] = "",
    order: Annotated[str, typer.Option(help="Order the tables by this metric: nll (default), or ece.")] = "nll",
    entry: Annotated[
        list[str], typer.Option("--entry", help="Show only this entry (repeatable) and the baseline.")
    ] = NONE,
    plugin: Plugins = NONE,
) -> int:
    """Write the tables again from the results; nothing is trained or evaluated."""
    if bool(suite) == bool(results):
        raise InputError("report: name a suite, or a file with --results")
    if suite:
        check_stored(suite, results_dir)
    load_plugins(plugin)

    from calbench.benchmark.cli.reports import report_command

    return report_command(suite, results_dir, results, baseline, metric, format_, table, order, tuple(entry))


@app.command()
def plot(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A suite that was run.")] = "quick",
    figure: Annotated[list[str], typer.Option("--figure", help="Plot only this figure (repeatable).")] = NONE,
    entry: Annotated[list[str], typer.Option("--entry", help="Show this entry (repeatable), in this order.")] = NONE,
    style: Annotated[Literal["column", "double"], typer.Option(help="One or two columns of a paper.")] = "column",
    height: Annotated[float, typer.Option(min=0, max=20, help="Height in inches; 0 chooses by the content.")] = 0,
    panels: Annotated[int, typer.Option(min=1, max=24, help="Most panels of one reliability figure.")] = 6,
    results_dir: ResultsDir = RunOptions.results_dir,
) -> int:
    """Draw the figures of a suite from its results, as PNG and PDF."""
    check_stored(suite, results_dir)

    from calbench.benchmark.cli.reports import plot_command
    from calbench.benchmark.report.figures.base import Look

    look = Look(entries=tuple(entry), style=style, height=height or None, panels=panels)
    return plot_command(suite, results_dir, list(figure), look)
