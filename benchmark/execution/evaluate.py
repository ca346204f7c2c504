"""Evaluate the entries of a cell from its stored predictions."""

import traceback
from collections.abc import Callable
from typing import Any

from torch import Tensor

from calbench.benchmark.config.entry import Entry
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.core.schema import ORACLE
from calbench.benchmark.evaluation.chains import Fits
from calbench.benchmark.evaluation.entries import Evaluation, evaluate_entry, evaluation_name, oracle_predictions
from calbench.benchmark.evaluation.tuning import score_record, stored_names
from calbench.benchmark.execution.plan import Work
from calbench.benchmark.predictions.predictions import Predictions
from calbench.benchmark.store.memory import MemoryStore
from calbench.benchmark.store.names import DamagedError
from calbench.benchmark.store.store import Store

EntryProgress = Callable[[int, int, str], None]
"""Called before each entry with the number done, the number of all, and its name."""
Stored = tuple[dict[str, Any], dict[str, Tensor]]


def evaluate_entries(
    work: Work,
    store: Store | MemoryStore,
    protocol: Protocol,
    progress: EntryProgress = lambda done, total, entry: None,
    fits: Fits | None = None,
) -> None:
    """Evaluate the entries of a cell that are not evaluated yet; a failure of one is recorded with its reason.

    Args:
        work: a cell whose predictions are in `store`, and the entries.
        store: where predictions are read and evaluations are written.
        protocol: metrics, bins, bootstrap replicates.
        progress: called before each entry with the number done, the number of all, and its name.
        fits: keeps the fitted calibrators for the cell's further splits.
    """
    key, predictions = work.cell.key, None
    for number, entry in enumerate(work.entries):
        progress(number, len(work.entries), entry.name)
        for name, make in _made_of(entry, protocol, fits).items():
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


def _made_of(entry: Entry, protocol: Protocol, fits: Fits | None) -> dict[str, Callable[[Predictions], Stored]]:
    """How everything that is stored of an entry in a cell is made, by its name there."""

    def evaluation(predictions: Predictions) -> Stored:
        return evaluate_entry(predictions, entry.calibrators, protocol, fits).to_stored()

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
