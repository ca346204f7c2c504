"""One unit of work: train a cell if its predictions are missing, then evaluate its entries. Runs anywhere."""

import contextlib
import errno
import time
import traceback
from contextlib import AbstractContextManager
from typing import Any, Literal

from calbench.benchmark.config.cell import Cell
from calbench.benchmark.config.derived_cell import VariantCell
from calbench.benchmark.core.errors import CellError, InputError
from calbench.benchmark.core.threads import LARGE_BYTES, threads
from calbench.benchmark.evaluation.chains import Fits
from calbench.benchmark.execution.derive import ready
from calbench.benchmark.execution.evaluate import evaluate_entries
from calbench.benchmark.execution.extra_splits import ExtraRun, missing_splits, predict_missing, update_extra
from calbench.benchmark.execution.plan import Work
from calbench.benchmark.execution.produce import RANK, WORLD, Context, Progress, manifest_of, names_of, produce
from calbench.benchmark.store.names import DamagedError, NewerError
from calbench.benchmark.store.store import Store
from calbench.benchmark.store.weights import WeightsByRule, pack_weights

Outcome = Literal["done", "failed", "busy"]
SOURCE_PAUSE = 0.2
"""Seconds before a cell is put back whose sources are still at work."""
DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


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
                if not missing_splits(work.cell.key, work.extra, store):  # predicting takes every process
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
        fits = Fits() if work.extra.splits else None
        evaluate_entries(work, store, context.protocol, fits=fits)
        update_extra(work, store, context.protocol, ExtraRun(context.data_root, context.device), fits)


def _evaluation_threads(work: Work, store: Store, context: Context) -> AbstractContextManager[None]:
    """One thread for small predictions, so that nothing depends on the number of jobs; all for large ones.

    With large ones the number changes the last digits (about 1e-6 of a value), and one thread takes long.
    """
    large = store.manifest(work.cell.key)["predictions"]["bytes"] > LARGE_BYTES
    if not large:
        return threads(1)
    return threads(context.threads) if context.threads else contextlib.nullcontext()


def _make(work: Work, store: Store, context: Context, progress: Progress) -> None:
    cell, started = work.cell, time.perf_counter()
    network = cell.cell if isinstance(cell, VariantCell) else cell  # the same threads give the same bits
    with threads(network.training.threads if isinstance(network, Cell) else 1):
        predictions, record, weights = produce(cell, store, context, progress)
        predictions.check_finite()
        all_predicted = _predict_extra(work, store, context, weights)
    if RANK != 0:
        return
    manifest = manifest_of(cell, record, time.perf_counter() - started)
    keep = context.keep_weights or not all_predicted
    packed = pack_weights(weights) if weights is not None and keep else None
    store.write(cell.key, predictions, manifest, packed)


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


def failure_record(work: Work, error: BaseException) -> dict[str, Any]:
    """Why a cell failed, for people and for the table's gap."""
    expected = isinstance(error, CellError | InputError)
    reason = str(error) if expected else f"{type(error).__name__}: {error}"
    cell = work.cell
    return {
        **names_of(cell),
        "reason": reason,
        "traceback": "".join(traceback.format_exception(error)),
    }
