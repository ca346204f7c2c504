"""The commands for predictions in a file: calibrate, evaluate, export."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from calbench.benchmark.cli.options import wide_console
from calbench.benchmark.core.errors import InputError

if TYPE_CHECKING:  # the commands import what they need: --help should not wait for torch
    from calbench.benchmark.predictions.files import Source

app = typer.Typer()

PredictionsFile = Annotated[
    Path, typer.Argument(metavar="FILE", help="npz, npy, csv, parquet, safetensors, HDF5 or pickle.")
]
Logits = Annotated[bool, typer.Option("--logits", help="The numbers are logits.")]
Probabilities = Annotated[bool, typer.Option("--probabilities", help="The numbers are probabilities.")]
Key = Annotated[str | None, typer.Option("--key", help="Name of the logits or probabilities (HDF5: dataset/model).")]
LabelsKey = Annotated[str | None, typer.Option("--labels-key", help="Name of the labels.")]
LabelsFile = Annotated[Path | None, typer.Option("--labels", help="A file with the labels alone.")]


def _replicates(value: int) -> int:
    from calbench.benchmark.config.protocol import enough_replicates

    try:
        return enough_replicates(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Bootstrap = Annotated[
    int,
    typer.Option("--bootstrap", min=0, callback=_replicates, help="Bootstrap replicates of the intervals."),
]
Bins = Annotated[int, typer.Option("--bins", min=1, help="Bins of the binned metrics.")]


@app.command()
def calibrate(
    file: PredictionsFile,
    test: Annotated[Path | None, typer.Argument(metavar="[TEST]", help="The test split, in a file of its own.")] = None,
    split: Annotated[
        float | None, typer.Option("--split", min=0, max=1, help="Share of FILE's rows to calibrate on.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the random split.")] = 0,
    in_order: Annotated[bool, typer.Option("--in-order", help="Split in order: calibrate on the first rows.")] = False,
    methods: Annotated[
        list[str] | None, typer.Option("--method", "-m", help="A calibrator, or a chain a + b; all by default.")
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for tables and figures.")] = None,
    bootstrap: Bootstrap = 1000,
    bins: Bins = 15,
    logits: Logits = False,
    probabilities: Probabilities = False,
    key: Key = None,
    labels_key: LabelsKey = None,
    labels: LabelsFile = None,
) -> int:
    """Compare post-hoc maps on predictions from files: fitted on one split, judged on the other.

    Exit status 1 where a method that was asked for could not be fitted; the table says why.
    """
    from calbench.benchmark.config.protocol import Protocol
    from calbench.benchmark.execution.posthoc import chain_name, compare_calibrators, default_chains, parse_chain
    from calbench.benchmark.predictions.files import read_pair
    from calbench.benchmark.report import render_terminal, write_reports

    if in_order and split is None:
        raise InputError("--in-order says how to split: give --split too")
    chosen = None if in_order else seed
    source = _source(logits, probabilities, key, labels_key, labels)
    pair = read_pair(file, test, source=source, split=split, seed=chosen)
    chains = [parse_chain(text) for text in methods] if methods else default_chains(pair)
    console = Console(stderr=True, highlight=False)
    results = compare_calibrators(
        pair,
        chains,
        protocol=Protocol(bootstrap=bootstrap, bins=bins),
        name=file.stem,
        calibration=_how(pair["last", "calibration"], pair["last", "test"], file, test, split, chosen),
        command=f"calbench calibrate {file.name}",
        progress=lambda done, total, entry: console.print(f"{done + 1} of {total}: {entry}", markup=False),
    )
    console = wide_console()
    console.print(render_terminal(results))
    if output is not None:
        results.save(output)
        console.print(f"written: {', '.join(path.name for path in write_reports(results, output))}", markup=False)
    compared = set(results.table["entry"])
    return 1 if methods and any(chain_name(chain) not in compared for chain in chains) else 0


@app.command()
def evaluate(
    file: PredictionsFile,
    bootstrap: Bootstrap = 1000,
    bins: Bins = 15,
    logits: Logits = False,
    probabilities: Probabilities = False,
    key: Key = None,
    labels_key: LabelsKey = None,
    labels: LabelsFile = None,
) -> int:
    """Print the metrics of predictions in a file, each with its 95 % bootstrap interval."""
    from calbench.benchmark import metrics, statistics
    from calbench.benchmark.predictions.files import read_splits

    console = wide_console()
    names = list(metrics.PANEL)
    for split, part in read_splits(file, _source(logits, probabilities, key, labels_key, labels)).items():
        inputs = {**part.scores(), "labels": part.labels, "bins": bins}
        values = metrics.evaluate(metrics=names, **inputs)
        drawn = statistics.bootstrap(metrics=names, replicates=bootstrap, seed=0, **inputs) if bootstrap else {}
        floor = statistics.noise_floor(**part.scores(), seed=0, bins=bins)
        classes = part.logits.shape[1]
        table = Table(title=f"{file.stem}, {split}: {len(part):,} samples, {classes:,} classes, {bins} bins")
        for heading in ("metric", "value", "95 % interval", "unit"):
            table.add_column(heading, justify="left" if heading in ("metric", "unit") else "right")
        for name in names:
            about = metrics.registry[name]
            low, high = statistics.interval(drawn[name]) if name in drawn else (None, None)
            span = "" if low is None else f"{low:.{about.decimals}f} to {high:.{about.decimals}f}"
            table.add_row(about.spec.label, f"{values[name]:.{about.decimals}f}", span, about.unit)
        table.add_row("noise floor of ECE", f"{floor.mean:.2f}", f"95 % below {floor.q95:.2f}", "%")
        console.print(table)
    return 0


@app.command()
def export(
    file: PredictionsFile,
    method: Annotated[str, typer.Option("--method", "-m", help="The calibrator, with options: name(option=value).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the fitted calibrator.")],
    logits: Logits = False,
    probabilities: Probabilities = False,
    key: Key = None,
    labels_key: LabelsKey = None,
    labels: LabelsFile = None,
) -> int:
    """Fit a calibrator on predictions in a file and write it: JSON and safetensors, a torch module, ONNX."""
    from calbench.benchmark.evaluation.entries import fit_chain
    from calbench.benchmark.execution.posthoc import parse_chain
    from calbench.benchmark.predictions.export import export as write
    from calbench.benchmark.predictions.files import read_splits

    chain = parse_chain(method)
    if len(chain) != 1:
        raise InputError(f"{method!r}: one calibrator is exported at a time")
    splits = read_splits(file, _source(logits, probabilities, key, labels_key, labels))
    part = splits.get("calibration") or next(iter(splits.values()))
    try:
        [fitted] = fit_chain(chain, part)
    except ValueError as error:
        raise InputError(f"{file.name}: {error}") from error
    written = write(fitted, output)
    wide_console().print(f"fitted on {len(part):,} samples; written: {', '.join(path.name for path in written)}")
    if probabilities:
        wide_console().print("it maps logits: give it the logarithm of probabilities")
    return 0


def _source(
    logits: bool, probabilities: bool, key: str | None, labels_key: str | None, labels: Path | None
) -> "Source":
    from calbench.benchmark.predictions.source import Source

    if logits and probabilities:
        raise InputError("--logits and --probabilities exclude each other")
    kind = "logits" if logits else "probabilities" if probabilities else None
    return Source(kind, key, labels_key, labels)


def _how(
    calibration: object, test_part: object, file: Path, test: Path | None, split: float | None, seed: int | None
) -> str:
    """The line above the tables on where the two splits come from."""
    sizes = f"{len(calibration):,} samples to calibrate on, {len(test_part):,} to test on"
    if test is not None:
        return f"{sizes}: {file.name} and {test.name}."
    if split is None:
        return f"{sizes}: both from {file.name}."
    rule = "in order" if seed is None else f"at random with seed {seed}"
    return f"{sizes}: {file.name}, split {rule}."
