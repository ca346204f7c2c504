"""The commands predict (a pretrained network on a dataset) and publish (a suite's predictions)."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from calbench.benchmark.cli.file_options import show_note
from calbench.benchmark.cli.options import NONE, DataDir, Plugins, ResultsDir, Settings, Smoke, load_plugins
from calbench.benchmark.core.console import Console
from calbench.benchmark.core.text import counted
from calbench.benchmark.execution.options import RunOptions

if TYPE_CHECKING:  # --help should not wait for torch
    from calbench.benchmark.backbones import Backbone

app = typer.Typer()


@app.command()
def predict(
    backbone: Annotated[str, typer.Argument(help="A backbone, or a timm model: resnet18.a1_in1k.")],
    dataset: Annotated[str, typer.Option("--dataset", "-d", help="The dataset, with options: cifar10.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file of predictions.")] = Path(
        "preds.safetensors"
    ),
    checkpoint: Annotated[str, typer.Option(help="A local file of weights: .safetensors, .pth.")] = "",
    calibration: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the test images used as calibration split.")
    ] = 0.5,
    seed: Annotated[int, typer.Option(min=0, help="Seed of that split.")] = 0,
    data_dir: DataDir = RunOptions.data_root,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, float32, bf16 or fp16.")] = "auto",
    plugin: Plugins = NONE,
) -> int:
    """Predict the test images of a dataset with a pretrained network; `calbench calibrate` reads the file.

    The network is a backbone of `calbench list backbones` with its options, or the name of a timm model, whose
    pretrained weights are taken unless --checkpoint is given. An interrupted run goes on where it stopped.
    """
    from calbench.benchmark.config.terms import make_component
    from calbench.benchmark.execution.predict import predict_network
    from calbench.datasets import registry as datasets

    load_plugins(plugin)
    network, images = _network(backbone, checkpoint), make_component(dataset, datasets.create)
    console, started = Console(stderr=True, highlight=False), time.perf_counter()
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("images"), TimeRemainingColumn())
    first: list[int] = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("")

        def show(done: int, total: int) -> None:
            first.append(done)
            bar.update(task, completed=done, total=total)

        written = predict_network(
            network, images, output, data_root=data_dir, calibration=calibration, seed=seed, device=device,
            precision=precision, progress=show, note=show_note,
        )  # fmt: skip
    seconds, predicted = time.perf_counter() - started, first[-1] - first[0]
    rate = f", {predicted / seconds:.0f} images per second" if predicted else ""
    console.print(f"{written.name}: {counted(first[-1], 'image')}{rate}", markup=False)
    return 0


def _network(name: str, checkpoint: str) -> "Backbone":
    from calbench.benchmark.backbones import registry
    from calbench.benchmark.config.backbone import make_backbone
    from calbench.benchmark.config.terms import parse_term

    base, options = parse_term(name) if "*" not in name else (name, {})
    known = base in registry or base.startswith("timm:") or "*" in name
    spec = base if known else f"timm:{base}"
    if checkpoint:
        options["checkpoint"] = checkpoint
    elif not known:
        options.setdefault("pretrained", True)
    return make_backbone({spec: options} if options else spec)


@app.command()
def publish(
    suite: Annotated[str, typer.Argument(help="A suite that was run.")],
    to: Annotated[str, typer.Option("--to", help="A folder or fsspec address, such as hf://datasets/me/name.")],
    results_dir: ResultsDir = RunOptions.results_dir,
    data_dir: DataDir = RunOptions.data_root,
    smoke: Smoke = False,
    set_: Settings = NONE,
    plugin: Plugins = NONE,
) -> int:
    """Write the predictions and results of a suite as a dataset that others can load, with checksums and a card."""
    from calbench.benchmark.config.suite import load_suite, part_name
    from calbench.benchmark.execution.publish import publish as write

    load_plugins(plugin)
    loaded = load_suite(suite, settings=set_, smoke=smoke)
    loaded = loaded.called(part_name(loaded.name, [], [], set_))  # as `run` names its results
    manifest = write(loaded, RunOptions(results_dir=results_dir, data_root=data_dir), to)
    megabytes = sum(file.bytes for file in manifest.predictions) / 1e6
    Console().print(
        f"{counted(len(manifest.predictions), 'file')} of predictions ({megabytes:.1f} MB) and the results of {suite}"
    )
    return 0
