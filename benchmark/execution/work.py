"""One unit of work: train a cell if its predictions are missing, then evaluate its entries. Runs anywhere."""

import contextlib
import datetime
import errno
import os
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from calbench.benchmark.config.cell import Cell, FileCell, Keyed
from calbench.benchmark.config.derived_cell import EnsembleCell, VariantCell
from calbench.benchmark.config.entry import Entry
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.config.publication import read_published
from calbench.benchmark.config.suite import PredictionSource
from calbench.benchmark.core import environment
from calbench.benchmark.core.errors import CellError, InputError
from calbench.benchmark.core.schema import ORACLE
from calbench.benchmark.core.threads import threads
from calbench.benchmark.evaluation.entries import Evaluation, evaluate_entry, evaluation_name, oracle_predictions
from calbench.benchmark.evaluation.tuning import score_record, stored_names
from calbench.benchmark.execution.derive import pooled_predictions, ready, stored_or_made, variant_predictions
from calbench.benchmark.execution.extra_splits import ExtraRun, missing_splits, predict_missing, update_extra
from calbench.benchmark.execution.plan import Work
from calbench.benchmark.execution.tracking import Tracker
from calbench.benchmark.predictions.files import Source, read_pair
from calbench.benchmark.predictions.predictions import Predictions
from calbench.benchmark.store.memory import MemoryStore
from calbench.benchmark.store.names import DamagedError, NewerError
from calbench.benchmark.store.store import Store
from calbench.benchmark.store.weights import WeightsByRule, pack_weights

Outcome = Literal["done", "failed", "busy"]
Progress = Callable[[int, int], None]
EntryProgress = Callable[[int, int, str], None]
Stored = tuple[dict[str, Any], dict[str, Tensor]]
Produced = tuple[Predictions, dict[str, Any], WeightsByRule | None]
LARGE_BYTES = 100_000_000
"""Predictions above this size are evaluated with as many threads as there are."""
SOURCE_PAUSE = 0.2
"""Seconds before a cell is put back whose sources are still at work."""
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
"""This process's number and the number of processes, where `accelerate launch` started several for one model."""


@dataclass(frozen=True)
class Context:
    """What a worker has to know beside the work itself; plain data, and no part of any cell's identity."""

    results_dir: str
    data_root: Path
    protocol: Protocol
    device: str = "auto"
    plugins: tuple[Path, ...] = ()
    refresh: bool = False
    tensorboard: bool = False
    keep_weights: bool = False
    threads: int = 0


def process(work: Work, store: Store, context: Context, progress: Progress) -> Outcome:
    """Bring one cell and its evaluations up to date; a failure is recorded, not raised.

    Returns:
        ``busy`` while another process is at this cell, or at one that it is derived from.
    """
    if WORLD > 1:
        return _process_together(work, store, context, progress)
    key = work.cell.key
    with store.lock(key) as held:
        if not held:
            return "busy"
        store.sweep(key)
        if context.refresh:
            store.forget(key)
        try:
            if not ready(work.cell, store):
                time.sleep(SOURCE_PAUSE)
                return "busy"
            try:
                _bring_up_to_date(work, store, context, progress)
            except DamagedError:
                # Only this cell's own files are concerned, and they can be made again.
                store.forget(key)
                _bring_up_to_date(work, store, context, progress)
        except Exception as error:
            return failed(work, store, error)
    return "done"


def failed(work: Work, store: Store, error: BaseException) -> Outcome:
    """Record why a cell failed.

    Raises:
        OSError: `error` itself, where it is of the disk and no fault of the cell: every other cell would meet it too.
    """
    if isinstance(error, OSError) and error.errno in DISK_ERRORS:
        raise error
    if not isinstance(error, NewerError):  # the cell is somebody's result, and stays as it is
        store.write_failure(work.cell.key, failure_record(work, error))
    return "failed"


def _process_together(work: Work, store: Store, context: Context, progress: Progress) -> Outcome:
    """The same by several processes that train one model (`accelerate launch`): the first decides and writes."""
    from accelerate.utils import broadcast_object_list

    from calbench.benchmark.training.devices import make_devices

    key, leader = work.cell.key, RANK == 0
    precision = work.cell.training.precision if isinstance(work.cell, Cell) else "auto"
    make_devices(context.device, precision)  # the process group, before anything is exchanged
    with store.lock(key) if leader else contextlib.nullcontext(True) as held:
        if leader and held and context.refresh:
            store.forget(key)
        decision: list[Any] = [_decision(work, store, held) if leader else None]
        broadcast_object_list(decision)
        if decision[0] == "busy":
            return "busy"
        outcome: list[Outcome] = ["done"]
        try:
            if decision[0] != "done":
                _make(work, store, context, progress)
            if leader:
                evaluate_entries(work, store, context.protocol)
                if not missing_splits(work.cell, work.extra, store):  # predicting takes every process
                    update_extra(work, store, context.protocol, ExtraRun(context.data_root, context.device))
        except Exception as error:
            outcome = [failed(work, store, error) if leader else "failed"]
        broadcast_object_list(outcome)
    return outcome[0]


def _decision(work: Work, store: Store, held: bool) -> str:
    """What several processes do with a cell: its status, or ``busy``; a cell whose sources failed fails in `_make`."""
    with contextlib.suppress(CellError):
        if not (held and ready(work.cell, store)):
            return "busy"
    return store.status(work.cell.key)


def _bring_up_to_date(work: Work, store: Store, context: Context, progress: Progress) -> None:
    status = store.status(work.cell.key)
    if status == "damaged":
        store.forget(work.cell.key)
    if status != "done":
        _make(work, store, context, progress)
    with _evaluation_threads(work, store, context):
        evaluate_entries(work, store, context.protocol)
        update_extra(work, store, context.protocol, ExtraRun(context.data_root, context.device))


def _evaluation_threads(work: Work, store: Store, context: Context) -> AbstractContextManager[None]:
    """One thread for small predictions, so that nothing depends on the number of jobs; all for large ones.

    With large ones the number changes the last digits (about 1e-6 of a value), and one thread takes long.
    """
    large = store.manifest(work.cell.key)["predictions"]["bytes"] > LARGE_BYTES
    if not large:
        return threads(1)
    return threads(context.threads) if context.threads else contextlib.nullcontext()


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
                    store.write(one.key, predictions, _manifest(one, {}, time.perf_counter() - started))
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
        pair = read_pair(path, source.test_path, source=how, split=_share(source), seed=cell.seed)
    splits = {(rule, split): part for rule in context.protocol.checkpoints for (_, split), part in pair.splits.items()}
    return Predictions(splits), {"note": f"predictions read from {Path(source.path).name}"}, None


def _share(source: PredictionSource) -> float | None:
    """The share of rows for the calibration split, where the file may have one split."""
    return None if source.test_path is not None or source.publication is not None else source.split


@contextlib.contextmanager
def _local_file(source: PredictionSource) -> Iterator[Path]:
    """The file of a source; a published one is fetched and checked against its checksum."""
    if source.publication is None:
        yield Path(source.path)
        return
    data = read_published(source.publication, source.path, source.sha256 or "")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, Path(source.path).name)
        path.write_bytes(data)
        yield path


def _make(work: Work, store: Store, context: Context, progress: Progress) -> None:
    cell, started = work.cell, time.perf_counter()
    network = cell.cell if isinstance(cell, VariantCell) else cell  # the same threads give the same bits
    with threads(network.training.threads if isinstance(network, Cell) else 1):
        predictions, record, weights = produce(cell, store, context, progress)
        predictions.check_finite()
        all_predicted = _predict_extra(work, store, context, weights)
    if RANK != 0:
        return
    manifest = _manifest(cell, record, time.perf_counter() - started)
    keep = context.keep_weights or not all_predicted
    packed = pack_weights(weights) if weights is not None and keep else None
    store.write(cell.key, predictions, manifest, packed)


def _manifest(cell: Keyed, record: dict[str, Any], seconds: float) -> dict[str, Any]:
    """What the store says of predictions: what they are of, how they came about, when and with what."""
    return {
        **_names(cell),
        **record,
        "seconds": round(seconds, 3),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": environment.commit(),
        "versions": environment.versions(),
        "hardware": environment.hardware(),
    }


def _predict_extra(work: Work, store: Store, context: Context, weights: WeightsByRule | None) -> bool:
    """Predict the further splits while the weights are at hand, and return whether all are there.

    What fails is tried again by `update_extra`, which records the reason; the weights are kept for it.
    """
    if weights is None:
        return True
    try:
        predict_missing(work, store, ExtraRun(context.data_root, context.device), weights, leader=RANK == 0)
    except (InputError, ValueError):
        return False
    return True


def evaluate_entries(
    work: Work,
    store: Store | MemoryStore,
    protocol: Protocol,
    progress: EntryProgress = lambda done, total, entry: None,
) -> None:
    """Evaluate the entries of a cell that are not evaluated yet; a failure of one is recorded with its reason.

    Args:
        work: a cell whose predictions are in `store`, and the entries.
        store: where predictions are read and evaluations are written.
        protocol: metrics, bins, bootstrap replicates.
        progress: called before each entry with the number done, the number of all, and its name.
    """
    key, predictions = work.cell.key, None
    for number, entry in enumerate(work.entries):
        progress(number, len(work.entries), entry.name)
        for name, make in _made_of(entry, protocol).items():
            if _known(store, key, name):
                continue
            predictions = predictions or store.predictions(key)
            try:
                made = make(predictions)
            except Exception as error:  # a calibrator may fail in any way, and the other entries of the cell go on
                reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                store.write_failed_evaluation(key, name, {"reason": reason, "traceback": traceback.format_exc()})
                continue
            store.write_evaluation(key, name, *made)
    name = oracle_name(protocol)
    if work.oracle and not _known(store, key, name):
        predictions = predictions or store.predictions(key)
        store.write_evaluation(key, name, *_oracle(predictions, protocol).to_stored())


def _made_of(entry: Entry, protocol: Protocol) -> dict[str, Callable[[Predictions], Stored]]:
    """How everything that is stored of an entry in a cell is made, by its name there."""

    def evaluation(predictions: Predictions) -> Stored:
        return evaluate_entry(predictions, entry.calibrators, protocol).to_stored()

    def score(predictions: Predictions) -> Stored:
        return score_record(predictions, entry.calibrators, protocol), {}

    return dict(zip(stored_names(entry, protocol), (evaluation, score), strict=False))


def _known(store: Store | MemoryStore, key: str, name: str) -> bool:
    """Whether an evaluation can be read, or is known to fail."""
    try:
        return store.evaluation(key, name) is not None or store.evaluation_status(key, name) == "failed"
    except DamagedError:
        return False


def _oracle(predictions: Predictions, protocol: Protocol) -> Evaluation:
    given = {key: oracle_predictions(part) for key, part in predictions.splits.items() if part.posterior is not None}
    rule = protocol.checkpoint
    parts = Predictions({key: part for key, part in given.items() if key[0] == rule})
    parts.splits[rule, "calibration"] = predictions[rule, "calibration"]
    return evaluate_entry(parts, (), protocol.model_copy(update={"also_checkpoints": ()}))


def oracle_name(protocol: Protocol) -> str:
    """The name under which the evaluation of the Bayes posterior lies in a cell's folder."""
    return f"{ORACLE}-{evaluation_name((), protocol)}"


def _names(cell: Keyed) -> dict[str, Any]:
    """What a record says of the cell that it belongs to."""
    return {
        "cell": cell.identity,
        "name": cell.describe(),
        "dataset": cell.dataset.spelled(),
        "backbone": cell.backbone.spelled(),
        "recipe": cell.recipe_name,
        "seed": cell.seed,
    }


def failure_record(work: Work, error: BaseException) -> dict[str, Any]:
    """Why a cell failed, for people and for the table's gap."""
    expected = isinstance(error, CellError | InputError)
    reason = str(error) if expected else f"{type(error).__name__}: {error}"
    cell = work.cell
    return {
        **_names(cell),
        "reason": reason,
        "traceback": "".join(traceback.format_exception(error)),
    }
