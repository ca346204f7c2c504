"""Further splits of a cell's work: predicted after training or from kept weights, then evaluated entry by entry."""

import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from calbench.benchmark.config.cell import Cell
from calbench.benchmark.config.entry import Entry
from calbench.benchmark.config.extra_splits import OOD, Corrupted, Extra, ExtraSplit
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.predictions import SplitPredictions
from calbench.benchmark.store.splits import forget_split, has_split, read_split, write_split
from calbench.benchmark.store.store import DamagedError, Store
from calbench.benchmark.store.weights import WeightsByRule, WeightsNotKeptError

if TYPE_CHECKING:
    from calbench.benchmark.evaluation.chains import Fits
    from calbench.benchmark.execution.plan import Work

AFFECTS_RESULTS = False
NOT_KEPT = (
    "trained without its weights being kept, before these splits were asked for; set `keep: weights` in the suite and "
    "train it again with `--cache refresh`"
)


@dataclass(frozen=True)
class ExtraRun:
    """Where and how further splits are predicted; as in `Context`."""

    data_root: Path
    device: str


def missing_splits(key: str, extra: Extra, store: Store) -> list[ExtraSplit]:
    """The further splits without predictions in the store."""
    return [split for split in extra.all if not has_split(store, key, split.key)]


def predict_missing(work: "Work", store: Store, run: ExtraRun, weights: WeightsByRule | None, leader: bool) -> None:
    """Predict the further splits that are not there yet, and store each as soon as it is.

    Args:
        work: a cell and what is wanted of it.
        store: where its predictions are.
        run: where the data are, and the device.
        weights: of every checkpoint rule, right after training; None to read the kept ones.
        leader: whether this process writes.

    Raises:
        WeightsNotKeptError: the cell was trained earlier, and its weights were not kept.
        InputError: files of a split are missing or damaged.
    """
    cell = work.cell
    if not isinstance(cell, Cell):
        return
    missing = missing_splits(cell.key, work.extra, store)
    if not missing:
        return
    from calbench.benchmark.training.extra_splits import kept_weights, predict_extra  # heavy: timm, accelerate

    def write(split: ExtraSplit, parts: dict[str, SplitPredictions]) -> None:
        if leader:
            write_split(store, cell.key, split.key, parts, {"name": split.name, "recipe": split.recipe()})

    weights = kept_weights(cell, store) if weights is None else weights
    predict_extra(cell, weights, missing, run.data_root, run.device, write)


def extra_names(entries: Iterable[Entry], protocol: Protocol, extra: Extra) -> dict[str, str]:
    """The name of the evaluation of further splits of each entry; empty without further splits."""
    if not extra.splits:
        return {}
    from calbench.benchmark.evaluation.extra_splits import extra_name

    return {entry.name: extra_name(entry.calibrators, protocol, extra) for entry in entries}


def update_extra(work: "Work", store: Store, protocol: Protocol, run: ExtraRun, fits: "Fits | None" = None) -> None:
    """Bring the further splits of a finished cell and their evaluations up to date.

    What cannot be had is recorded with its reason, for every entry concerned; the cell itself stays done. `fits` are
    those of the cell's own evaluations.
    """
    if not isinstance(work.cell, Cell):
        return
    key, names = work.cell.key, extra_names(work.entries, protocol, work.extra)
    todo = [name for name in dict.fromkeys(names.values()) if store.evaluation_status(key, name) == "missing"]
    if not todo:
        return
    try:
        predict_missing(work, store, run, None, leader=True)
        try:
            _evaluate(work, store, protocol, set(todo), fits)
        except DamagedSplitError:  # it has been removed, and is predicted again
            predict_missing(work, store, run, None, leader=True)
            _evaluate(work, store, protocol, set(todo), fits)
    except (OSError, DamagedError):
        raise
    except WeightsNotKeptError:
        _record(store, key, todo, NOT_KEPT)
    except Exception as error:
        expected = isinstance(error, InputError)
        _record(store, key, todo, str(error) if expected else f"{type(error).__name__}: {error}")


class DamagedSplitError(Exception):
    """Files of further splits were damaged, and have been removed."""


def _read(store: Store, key: str, split: ExtraSplit) -> dict[str, SplitPredictions]:
    try:
        return read_split(store, key, split.key)
    except DamagedError as error:
        forget_split(store, key, split.key)
        raise DamagedSplitError(str(error)) from error


def _record(store: Store, key: str, names: Iterable[str], reason: str) -> None:
    for name in names:
        store.write_failed_evaluation(key, name, {"reason": reason, "traceback": traceback.format_exc()})


def _evaluate(work: "Work", store: Store, protocol: Protocol, todo: set[str], fits: "Fits | None") -> None:
    from calbench.benchmark.evaluation.extra_splits import ExtraEvaluator

    key, extra = work.cell.key, work.extra
    names = extra_names(work.entries, protocol, extra)
    chains = {names[entry.name]: entry.calibrators for entry in work.entries if names[entry.name] in todo}
    fit = _read(store, key, extra.fit) if extra.fit else None
    graded = any(isinstance(split, Corrupted) for split in extra.splits)
    detecting = any(split.name.startswith(OOD) for split in extra.splits)
    evaluator = ExtraEvaluator(store.predictions(key), chains, protocol, fit, graded, detecting, fits)
    for split in extra.splits:
        evaluator.add(split, _read(store, key, split))
    for name, evaluation in evaluator.finish().items():
        store.write_evaluation(key, name, *evaluation.to_stored())
    for name, error in evaluator.failures.items():
        store.write_failed_evaluation(key, name, {"reason": f"{type(error).__name__}: {error}"})
