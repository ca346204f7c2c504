"""How the predictions of a cell come about: training, a variant of a trained network, an ensemble, or a file."""

import contextlib
import datetime
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any

from calbench.benchmark.config.cell import Cell, FileCell, Keyed
from calbench.benchmark.config.derived_cell import EnsembleCell, VariantCell
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.config.publication import read_published
from calbench.benchmark.config.suite import PredictionSource
from calbench.benchmark.core import environment
from calbench.benchmark.execution.derive import pooled_predictions, stored_or_made, variant_predictions
from calbench.benchmark.execution.tracking import Tracker
from calbench.benchmark.predictions.files import Source, read_pair
from calbench.benchmark.predictions.generated import write_generated
from calbench.benchmark.predictions.predictions import Predictions
from calbench.benchmark.store.store import Store
from calbench.benchmark.store.weights import WeightsByRule

Progress = Callable[[int, int], None]
"""Called with the epochs that are done, and all."""
Produced = tuple[Predictions, dict[str, Any], WeightsByRule | None]
RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
"""This process's number and the number of processes, where `accelerate launch` started several for one model."""


@dataclass(frozen=True)
class Context:
    """What a worker needs in addition to the work itself: plain data that is not part of any cell's identity."""

    results_dir: str
    data_root: Path
    protocol: Protocol
    device: str = "auto"
    plugins: tuple[Path, ...] = ()
    refresh: bool = False
    tensorboard: bool = False
    keep_weights: bool = False
    threads: int = 0


@singledispatch
def produce(cell: Any, store: Store, context: Context, progress: Progress) -> Produced:
    """The predictions of a cell, what its manifest says of how they came about, and its weights if it was trained."""
    raise TypeError(f"{type(cell).__name__} is no cell")


@produce.register
def _(cell: Cell, store: Store, context: Context, progress: Progress) -> Produced:
    # Heavy modules (timm, accelerate): a run with nothing to train does not import them.
    if cell.training.epochs == 0:
        from calbench.benchmark.training.untrained import predict_untrained

        return *predict_untrained(cell, context.data_root, context.device, progress), None
    if cell.recipe.is_extended:
        from calbench.benchmark.training.extended import train_extended as train_cell
    else:
        from calbench.benchmark.training.trainer import train_cell

    tracked = Tracker(store.folder, cell.describe()) if context.tensorboard and RANK == 0 else contextlib.nullcontext()
    with tracked as tracker:

        def on_epoch(epochs: int, metrics: dict[str, Any]) -> None:
            progress(metrics["epoch"], epochs)
            if tracker is not None:
                tracker.log(metrics)

        return train_cell(cell, context.data_root, context.device, store, on_epoch)


@produce.register
def _(cell: VariantCell, store: Store, context: Context, progress: Progress) -> Produced:
    from calbench.benchmark.data.splits import prepare_data
    from calbench.benchmark.training.devices import make_devices
    from calbench.benchmark.training.untrained import evaluated_splits
    from calbench.benchmark.training.variants import predict_variants

    trained, root = cell.cell, context.data_root
    splits = prepare_data(trained, root).evaluated if trained.training.epochs else evaluated_splits(trained, root)
    devices = make_devices(context.device, trained.training.precision)

    def make(one: VariantCell) -> Predictions:
        with stored_or_made(one, store) as (predictions, writes):
            if predictions is None:
                started = time.perf_counter()
                parts: dict[tuple[str, str], Any] = {}
                for rule in trained.checkpoints:
                    by_split = predict_variants(trained, rule, one.variants, splits, store, devices)
                    parts |= {(rule, name): part for name, part in by_split.items()}
                predictions = Predictions(parts)
                if writes and one is not cell and RANK == 0:
                    store.write(one.key, predictions, manifest_of(one, {}, time.perf_counter() - started))
            return predictions

    return *variant_predictions(cell, make), None


@produce.register
def _(cell: EnsembleCell, store: Store, context: Context, progress: Progress) -> Produced:
    members = [store.predictions(member.key) for member in cell.members]
    note = f"seeds {', '.join(str(member.seed) for member in cell.members)}"
    return pooled_predictions(members, cell.calibrators, cell.shared_calibration), {"members": note}, None


@produce.register
def _(cell: FileCell, store: Store, context: Context, progress: Progress) -> Produced:
    source = cell.source
    how = Source(
        kind=source.kind, logits_key=source.key, labels_key=source.labels_key, classes=source.classes,
        labels_path=Path(source.labels_path) if source.labels_path else None, normalize=source.normalize,
    )  # fmt: skip
    with _local_file(source) as path:
        pair = read_pair(path, source.test_path, source=how, split=_share(source), seed=cell.seed, split_if_one=True)
    splits = {(rule, split): part for rule in context.protocol.checkpoints for (_, split), part in pair.splits.items()}
    return Predictions(splits), {"note": f"predictions read from {Path(source.path).name}"}, None


def _share(source: PredictionSource) -> float | None:
    """The share of rows for the calibration split, where the file may have one split."""
    whole = source.test_path is None and source.publication is None and source.generated is None
    return source.split if whole else None


@contextlib.contextmanager
def _local_file(source: PredictionSource) -> Iterator[Path]:
    """The file of a source; a published one is fetched and checked against its checksum, a generated one is written."""
    if source.generated is not None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"{Path(source.path).stem}.h5")
            write_generated(path, source.key or "generated", source.generated)
            yield path
        return
    if source.publication is None:
        yield Path(source.path)
        return
    data = read_published(source.publication, source.path, source.sha256 or "")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, Path(source.path).name)
        path.write_bytes(data)
        yield path


def manifest_of(cell: Keyed, record: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What the store says of predictions: what they are of, how they came about, when and with what."""
    return {
        **names_of(cell),
        **record,
        "seconds": round(seconds, 3),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": environment.commit(),
        "versions": environment.versions(),
        "hardware": environment.hardware(),
    }


def names_of(cell: Keyed) -> dict[str, Any]:
    """What a record says of the cell that it belongs to."""
    return {
        "cell": cell.identity,
        "name": cell.describe(),
        "dataset": cell.dataset.spelled(),
        "backbone": cell.backbone.spelled(),
        "recipe": cell.recipe_name,
        "seed": cell.seed,
    }
