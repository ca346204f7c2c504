"""The commands for predictions in a file: inspect, evaluate, calibrate, export."""

import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calbench.benchmark.cli.file_options import KNOWN_NAMES, PredictionsFile, command_line, show_note, with_source
from calbench.benchmark.cli.fit_progress import FitProgress
from calbench.benchmark.cli.metric_table import metric_table
from calbench.benchmark.cli.options import NONE, Plugins, load_plugins, wide_console
from calbench.benchmark.cli.sizes import Draws, Sizes, read_sizes, show_curves
from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.core.errors import InputError, check_names
from calbench.benchmark.core.files import make_folder
from calbench.benchmark.core.text import counted
from calbench.benchmark.predictions.source import Source

if TYPE_CHECKING:  # files are read before torch is imported: an error should not wait for it
    from calbench.benchmark.predictions.predictions import SplitPredictions
    from calbench.benchmark.results.results import Results

app = typer.Typer()


def _replicates(value: int) -> int:
    from calbench.benchmark.core.schema import FEWEST_REPLICATES  # heavy: pandas

    if 0 < value < FEWEST_REPLICATES:
        raise typer.BadParameter(
            f"{counted(value, 'replicate')}: at least {FEWEST_REPLICATES} make an interval, 0 none"
        )
    return value


Bootstrap = Annotated[
    int,
    typer.Option("--bootstrap", min=0, callback=_replicates, help="Bootstrap replicates of the intervals; 0 for none."),
]
Bins = Annotated[int, typer.Option("--bins", min=1, help="Bins of the binned metrics.")]
TestFile = Annotated[Path | None, typer.Argument(metavar="[TEST]", help="The test split, if it is in a separate file.")]
Share = Annotated[
    float | None,
    typer.Option("--split", min=0, max=1, help="Share of FILE's rows to calibrate on, stratified by class."),
]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the random split.")]
InOrder = Annotated[bool, typer.Option("--in-order", help="Calibrate on the first rows instead of random ones.")]
Methods = Annotated[
    list[str] | None, typer.Option("--method", "-m", help="A calibrator, or a chain a + b; all by default.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for tables and figures.")]
Metrics = Annotated[
    str,
    typer.Option(
        "--metrics", help="Further metrics, joined by commas: aurc,nll-refinement; see calbench list metrics."
    ),
]


@app.command("inspect", epilog=KNOWN_NAMES)
@with_source
def inspect_file(file: PredictionsFile, *, source: Source) -> int:
    """Show what a file contains, how it would be read, and its first rows.

    Exit status 0 if it can be evaluated as it is, 1 if an option is missing; the last line names it.
    """
    from calbench.benchmark.cli.inspection import show

    return show(wide_console(), file, source)


@app.command(epilog=KNOWN_NAMES)
@with_source
def evaluate(
    file: PredictionsFile,
    bootstrap: Bootstrap = 1000,
    bins: Bins = DEFAULT_BINS,
    metrics: Metrics = "",
    plugin: Plugins = NONE,
    *,
    source: Source,
) -> int:
    """Print the metrics of predictions in a file, each with its 95 % interval, or the reason why it has none.

    With --bootstrap 0 there are no intervals.
    """
    load_plugins(plugin)
    from calbench.benchmark.predictions.files import read_splits

    splits = read_splits(file, source, show_note)

    from calbench.benchmark.predictions.chance import chance_note

    if note := chance_note(splits):
        show_note(note)
    for split, part in splits.items():
        title = f"{file.name}, {split}" if split != "all" else file.name
        wide_console().print(metric_table(title, part, _panel(metrics), bootstrap, bins))
    return 0


def _panel(further: str) -> tuple[str, ...]:
    """The names of the usual metrics and of `further` ones, joined by commas."""
    from calbench.benchmark.metrics import PANEL, registry

    names = [name.strip() for name in further.split(",") if name.strip()]
    check_names("metric", names, registry, registry.listing)
    return tuple(dict.fromkeys((*PANEL, *names)))


@app.command(epilog=KNOWN_NAMES)
@with_source
def calibrate(
    context: typer.Context,
    file: PredictionsFile,
    test: TestFile = None,
    split: Share = None,
    seed: Seed = 0,
    in_order: InOrder = False,
    methods: Methods = None,
    output: Output = None,
    bootstrap: Bootstrap = 1000,
    bins: Bins = DEFAULT_BINS,
    metrics: Metrics = "",
    sizes: Sizes = "",
    draws: Draws = 10,
    plugin: Plugins = NONE,
    *,
    source: Source,
) -> int:
    """Compare post-hoc calibrators on predictions from files: fitted on one split, evaluated on the other.

    Exit status 1 if a requested method could not be fitted; the notes below the table have the reason.
    """
    from calbench.benchmark.predictions.files import read_pair

    if in_order and split is None:
        raise InputError("--in-order has no effect without --split: give --split too")
    load_plugins(plugin)
    order_seed = None if in_order else seed
    pair = read_pair(file, test, source=source, split=split, seed=order_seed, note=show_note)

    from calbench.benchmark.config.protocol import Protocol
    from calbench.benchmark.evaluation.simplicity import values_of_a_fit
    from calbench.benchmark.evaluation.sizes import check_sizes
    from calbench.benchmark.execution.posthoc import (
        chain_name,
        compare_calibrators,
        default_chains,
        parse_chain,
        too_large,
    )
    from calbench.benchmark.predictions.chance import chance_note

    calibration, test_part = pair["last", "calibration"], pair["last", "test"]
    if note := chance_note({"test": test_part, "calibration": calibration}):
        show_note(note)
    numbers = read_sizes(sizes) if sizes else []
    check_sizes(numbers, calibration)
    chains, left_out = [parse_chain(text) for text in methods or ()], ""
    if not methods:
        chains, left_out = too_large(default_chains(pair), pair)
    if left_out:
        show_note(left_out)
    if output is not None:
        make_folder(output)
    with FitProgress() as progress:
        results = compare_calibrators(
            pair,
            chains,
            protocol=Protocol(bootstrap=bootstrap, bins=bins, metrics=_panel(metrics)),
            name=file.stem,
            calibration=_how(calibration, test_part, file, test, split, order_seed),
            command=command_line(context),
            progress=progress,
            notes=[left_out] if left_out else (),
        )
    named = {chain_name(chain): chain for chain in ((), *chains)}
    sizes_of_fits = {name: partial(values_of_a_fit, chain, calibration) for name, chain in named.items()}
    written = _show(results, output, lambda entry: sizes_of_fits[entry]() if entry in sizes_of_fits else math.inf)
    if numbers:
        written += show_curves(pair, named, numbers, draws, bins, output)
    _name_written(output, written)
    compared = set(results.table["entry"])
    return 1 if methods and any(chain_name(chain) not in compared for chain in chains) else 0


def _name_written(output: Path | None, written: list[str]) -> None:
    """Name the files that were written, last and in one line."""
    if output is not None:
        console = wide_console()
        console.print(f"written to {output}: {', '.join(written)}", markup=False, soft_wrap=not console.is_terminal)


def _show(results: "Results", output: Path | None, values_of: Callable[[str], float]) -> list[str]:
    """Print tables and advice; write them if there is a folder for them, and return the names of the files.

    `values_of` is the number of fitted values of an entry.
    """
    from calbench.benchmark.report import Report, render_terminal, write_reports
    from calbench.benchmark.report.findings import advice

    console, report = wide_console(), Report(results)
    console.print(render_terminal(report))
    for line in advice(results, values_of):
        console.print(line, markup=False, soft_wrap=not console.is_terminal)
    if output is None:
        return []
    saved = results.save(output)
    return [*(path.relative_to(output).as_posix() for path in write_reports(report, output)), *saved]


@app.command(epilog=KNOWN_NAMES)
@with_source
def export(
    file: PredictionsFile,
    method: Annotated[
        str, typer.Option("--method", "-m", help="A calibrator, with options: name(option=value), or a chain a + b.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the fitted calibrator.")],
    plugin: Plugins = NONE,
    *,
    source: Source,
) -> int:
    """Fit a calibrator, or a chain, on predictions in a file and write it: JSON and safetensors, torch.export, ONNX."""
    load_plugins(plugin)

    from calbench.benchmark.predictions.files import read_splits

    splits = read_splits(file, source, show_note)
    part = splits.get("calibration") or next(iter(splits.values()))

    from calbench.benchmark.evaluation.entries import fit_chain
    from calbench.benchmark.execution.posthoc import parse_chain
    from calbench.benchmark.predictions.export import export as write

    chain = parse_chain(method)
    make_folder(output)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fitted = fit_chain(chain, part)
        except ValueError as error:
            raise InputError(f"{file.name}: {error}") from error
    for line in dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, UserWarning)):
        show_note(line)
    written = write(fitted, output)
    names = ", ".join(path.relative_to(output).as_posix() for path in written)
    wide_console().print(f"fitted on {counted(len(part), 'sample')}; written: {names}", markup=False, soft_wrap=True)
    if part.probabilities is not None:
        wide_console().print("it takes logits: give it the logarithm of probabilities")
    return 0


def _how(
    calibration: "SplitPredictions",
    test_part: "SplitPredictions",
    file: Path,
    test: Path | None,
    split: float | None,
    seed: int | None,
) -> str:
    """The line above the tables on where the two splits come from."""
    sizes = f"{counted(len(calibration), 'sample')} to calibrate on, {len(test_part):,} to test on"
    if test is not None:
        return f"{sizes}: {file.name} and {test.name}."
    if split is None:
        return f"{sizes}: both from {file.name}."
    rule = "in order" if seed is None else f"at random with seed {seed}, stratified by class"
    return f"{sizes}: {file.name}, split {rule}."
