"""Cost of the engine: a training step compared with the bare passes, planning, a leaderboard, a cached rerun."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from calbench.benchmark.studies.speed.measure import Measurement, group, measure

STEPS = 40


@dataclass(frozen=True)
class Network:
    """A backbone to time in training, and the random 8-bit images that it gets."""

    backbone: str
    options: dict[str, Any]
    channels: int = 1
    pixels: int = 8
    batch: int = 64


NETWORKS = {
    "vit-micro, 5 tokens": Network("vit-micro", {"patch": 4}),
    "vit-micro, 17 tokens": Network("vit-micro", {"patch": 2}),
    "vit-micro, 17 tokens, 192 wide": Network("vit-micro", {"patch": 2, "width": 192, "heads": 6, "depth": 4}),
}
"""From the quick suite's own to the width that papers call tiny: on the smallest a head's fixed cost shows."""

GPU_NETWORKS = {"ViT-B/16, 32-pixel images at 224": Network("vit-b16-224", {"pretrained": False}, 3, 32, 128)}
"""The networks of the CalAttn paper, if there is a GPU; compiled too."""


@group("training", "A training step: the loop against its bare forward and backward passes, CalAttn against no head")
def training(quick: bool, repeats: int) -> Iterator[Measurement]:
    """Steps on images that lie on the device; all lines of a task take the same number of steps."""
    steps = STEPS // 4 if quick else STEPS
    gpu = torch.cuda.is_available()
    for name, network in (NETWORKS | GPU_NETWORKS if gpu else NETWORKS).items():
        trainers = {f"loop, {entry}": _trainer(entry, network, steps) for entry in ("cross-entropy-brier", "calattn")}
        if gpu:
            trainers["loop, calattn, compiled"] = _trainer("calattn", network, steps, compiled=True)
        bare = _bare_passes(trainers["loop, cross-entropy-brier"])
        calls: dict[str, Callable[[], Any]] = {"bare passes and optimiser": bare}
        calls |= {who: trainer.train_epoch for who, trainer in trainers.items()}
        task = f"{steps} steps of {name}"
        for line in alternating(task, calls, repeats):
            yield replace(line, note=f"{steps * network.batch / line.seconds:,.0f} images a second")


def alternating(task: str, calls: dict[str, Callable[[], Any]], repeats: int) -> Iterator[Measurement]:
    """Measure calls in turn, so that a drift of the machine's speed meets all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(repeats + 1):
        for name, call in calls.items():
            started = time.perf_counter()
            call()
            if round_:
                seconds[name].append(time.perf_counter() - started)
    for name, values in seconds.items():
        yield Measurement(task, name, float(np.median(values)), min(values), float("nan"))


def _trainer(entry: str, network: Network, steps: int, *, compiled: bool = False) -> Any:
    from calbench.benchmark.data.splits import prepare_data
    from calbench.benchmark.training.devices import make_devices
    from calbench.benchmark.training.trainer import Trainer

    with tempfile.TemporaryDirectory() as folder:
        train = network.batch * steps * 5 // 4
        cell = images_cell(network, Path(folder), entry, train=train, test=10, compiled=compiled)
        return Trainer(cell, prepare_data(cell, Path(folder)), make_devices("auto", "auto"))


def images_cell(network: Network, folder: Path, entry: str, *, train: int, test: int, compiled: bool = False) -> Any:
    """A cell of random images in ten classes, in a file in `folder`; a fifth of `train` is the calibration split."""
    from calbench.benchmark import backbones
    from calbench.benchmark.config.cell import Cell
    from calbench.benchmark.config.entry import parse_entry
    from calbench.benchmark.config.training import TrainingConfig
    from calbench.datasets import registry as datasets

    config = TrainingConfig(epochs=10**6, batch_size=network.batch, augment=False, compile=compiled)
    path = _random_images(folder / "images.npz", network, train, test)
    dataset = datasets.create("array-file", path=path, classes=10)
    return Cell(
        dataset, dataset.fingerprint(folder), backbones.create(network.backbone, **network.options),
        parse_entry(entry).recipe, 0, config, 0.2, ("last",),
    )  # fmt: skip


def _random_images(path: Path, network: Network, train: int, test: int) -> Path:
    rng, shape, arrays = np.random.default_rng(0), (network.channels, network.pixels, network.pixels), {}
    for part, number in (("train", train), ("test", test)):
        arrays[f"{part}_images"] = rng.integers(0, 256, (number, *shape), np.uint8)
        arrays[f"{part}_labels"] = np.arange(number) % 10
    np.savez(path, **arrays)
    return path


def _bare_passes(trainer: Any) -> Callable[[], None]:
    """The same model's forward pass, loss, backward pass and update on ready batches, with nothing around them."""
    batches = list(trainer.batches)

    def call() -> None:
        total = torch.zeros((), device=trainer.devices.device)
        for images, labels in batches:
            trainer.optimizer.zero_grad(set_to_none=True)
            loss = trainer.cell.recipe.objective.loss(trainer.forward(images), labels)
            loss.backward()
            trainer.optimizer.step()
            total += loss.detach()
        total.item()  # a GPU works on until something is read

    return call


@group("scale", "Cost as work grows: planning, a large leaderboard, a warm rerun")
def scale(quick: bool, repeats: int) -> Iterator[Measurement]:
    """10,000 planned cells; 100,000 result rows; the cells of a tiny suite, all cached."""
    from calbench.benchmark.config.suite import load_suite
    from calbench.benchmark.execution.plan import make_plan

    seeds = list(range(21 if quick else 209))
    suite = load_suite("quick", seeds=seeds)

    def plan() -> list[Any]:
        works = make_plan(suite, lambda dataset: "print")
        return [work.cell.key for work in works]

    yield measure(f"plan {len(plan()):,} cells, with their keys", "calbench", plan, repeats)
    table = _large_table(10_000 if quick else 100_000)
    from calbench.benchmark.report.render.markdown import markdown
    from calbench.benchmark.report.report import Report
    from calbench.benchmark.results.records import RunRecord
    from calbench.benchmark.results.results import Results
    from calbench.benchmark.statistics import compare

    run = RunRecord(suite="speed", baseline="entry 0")

    def board() -> list[str]:
        comparisons = compare(table, {}, "entry 0", expected_seeds=5)
        return [markdown(block.table) for block in Report(Results(table, comparisons, run)).blocks]

    yield measure(f"leaderboard of {len(table):,} rows, compared and written", "calbench", board, repeats)
    yield _warm_rerun(10 if quick else 60, repeats)


def _large_table(rows: int) -> pd.DataFrame:
    """Tidy results of that many rows: 5 datasets x 5 backbones x entries x 5 seeds x 10 metrics."""
    from calbench.benchmark.core.schema import RESULT_COLUMNS

    metrics = ["accuracy", "nll", "brier", "ece", "mce", "adaece", "classwise-ece", "signed-gap", "ks", "smece"]
    names = {
        "dataset": [f"dataset {i}" for i in range(5)],
        "backbone": [f"backbone {i}" for i in range(5)],
        "entry": [f"entry {i}" for i in range(rows // 1250)],
        "seed": range(5),
        "metric": metrics,
    }
    table = pd.MultiIndex.from_product(list(names.values()), names=list(names)).to_frame(index=False)
    values = np.random.default_rng(0).uniform(1, 9, len(table))
    fixed = {"recipe": table["entry"], "calibrator": "none", "checkpoint": "last", "split": "test", "value": values}
    return table.assign(**fixed, low=values - 1, high=values + 1).reindex(columns=RESULT_COLUMNS)


def _warm_rerun(seeds: int, repeats: int) -> Measurement:
    from calbench.benchmark.config.suite import load_suite
    from calbench.benchmark.execution.runner import RunOptions, run_suite

    settings = [
        "datasets=[digits]",
        "backbones=['vit-micro(width=8, heads=1, depth=1)']",
        "entries=[cross-entropy, temperature-scaling]",
        "training={epochs: 1, batch_size: 512, augment: false}",
        "overrides=[]",
    ]
    suite = load_suite("quick", settings=settings, seeds=list(range(seeds)))
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(None):
        options = RunOptions(results_dir=folder, jobs=1)
        run_suite(suite, options)

        return measure(f"warm rerun of {seeds} cells", "calbench", lambda: run_suite(suite, options), repeats)
