"""The commands for predictions in a file: inspect, evaluate, calibrate, export."""

import math
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from calbench.benchmark.cli.file_options import KNOWN_NAMES, PredictionsFile, command_line, show_note, with_source
from calbench.benchmark.cli.fit_progress import FitProgress
from calbench.benchmark.cli.metric_table import metric_table
from calbench.benchmark.cli.options import NONE, Plugins, load_plugins, takes, wide_console
from calbench.benchmark.cli.prediction_options import MetricOptions, SplitOptions
from calbench.benchmark.cli.sizes import DRAWS, Draws, Sizes, read_sizes, show_curves
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.files import make_folder
from calbench.benchmark.core.text import counted
from calbench.benchmark.predictions.source import Source

if TYPE_CHECKING:  # files are read before torch is imported: an error should not wait for it
    from calbench.benchmark.evaluation.chains import Fits
    from calbench.benchmark.execution.posthoc import Chain
    from calbench.benchmark.predictions.predictions import Predictions
    from calbench.benchmark.results.results import Results

app = typer.Typer()
Methods = Annotated[
    list[str] | None, typer.Option("--method", "-m", help="A calibrator, or a chain a + b; all by default.")
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for tables and figures.")]


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
@takes("measured", MetricOptions)
def evaluate(file: PredictionsFile, measured: MetricOptions, plugin: Plugins = NONE, *, source: Source) -> int:
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
        wide_console().print(metric_table(title, part, measured.panel(), measured.bootstrap, measured.bins))
    return 0


@app.command(epilog=KNOWN_NAMES)
@with_source
@takes("splits", SplitOptions)
@takes("measured", MetricOptions)
def calibrate(
    context: typer.Context,
    file: PredictionsFile,
    splits: SplitOptions,
    measured: MetricOptions,
    methods: Methods = None,
    output: Output = None,
    sizes: Sizes = "",
    draws: Draws = DRAWS,
    plugin: Plugins = NONE,
    *,
    source: Source,
) -> int:
    """Compare post-hoc calibrators on predictions from files: fitted on one split, evaluated on the other.

    Exit status 1 if a requested method could not be fitted; the notes below the table have the reason.
    """
    load_plugins(plugin)
    pair = splits.read(file, source)

    from calbench.benchmark.config.protocol import Protocol
    from calbench.benchmark.evaluation.chains import Fits
    from calbench.benchmark.execution.posthoc import chain_name, compare_calibrators, evaluation_threads

    fits = Fits()
    _note_chance(pair)
    numbers = _numbers(sizes, pair)
    chains, left_out = _chains(methods, pair)
    if output is not None:
        make_folder(output)
    with FitProgress() as progress:
        results = compare_calibrators(
            pair,
            chains,
            protocol=Protocol(bootstrap=measured.bootstrap, bins=measured.bins, metrics=measured.panel()),
            name=file.stem,
            calibration=splits.described(file, pair),
            command=command_line(context),
            progress=progress,
            notes=left_out,
            fits=fits,
        )
    named = {chain_name(chain): chain for chain in ((), *chains)}
    written = _show(results, output, _values_of(named, pair, fits))
    if numbers:
        with evaluation_threads(pair):
            written += show_curves(pair, named, numbers, draws, measured.bins, output)
    _name_written(output, written)
    compared = set(results.table["entry"])
    return 1 if methods and any(chain_name(chain) not in compared for chain in chains) else 0


def _note_chance(pair: "Predictions") -> None:
    from calbench.benchmark.predictions.chance import chance_note

    if note := chance_note({split: pair["last", split] for split in ("test", "calibration")}):
        show_note(note)


def _numbers(sizes: str, pair: "Predictions") -> list[int]:
    """The requested numbers of calibration samples; an error where the split has too few."""
    from calbench.benchmark.evaluation.sizes import check_sizes

    numbers = read_sizes(sizes) if sizes else []
    check_sizes(numbers, pair["last", "calibration"])
    return numbers


def _chains(methods: list[str] | None, pair: "Predictions") -> "tuple[list[Chain], list[str]]":
    """The chains to compare, and a note on those that would take too long and were not asked for."""
    from calbench.benchmark.execution.posthoc import default_chains, parse_chain, too_large

    if methods:
        return [parse_chain(text) for text in methods], []
    chains, left_out = too_large(default_chains(pair), pair)
    if left_out:
        show_note(left_out)
    return chains, [left_out] if left_out else []


def _values_of(named: "Mapping[str, Chain]", pair: "Predictions", fits: "Fits") -> Callable[[str], float]:
    """The number of fitted values of an entry; infinity of one that is no chain, whose values are unknown."""
    from calbench.benchmark.evaluation.simplicity import values_of_a_fit

    calibration = pair["last", "calibration"]
    return lambda entry: values_of_a_fit(named[entry], calibration, fits) if entry in named else math.inf


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

    from calbench.benchmark.evaluation.chains import fit_chain
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
