"""The score by which a tuned entry's options are chosen: the NLL of the calibration split, never of the test split."""

from dataclasses import fields
from typing import Any, cast

import torch
from torch.nn import functional

from calbench.benchmark.config.entry import Entry
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.core.folds import stratified_folds
from calbench.benchmark.core.hashing import digest
from calbench.benchmark.core.sources import source_digest
from calbench.benchmark.evaluation.chains import apply_chain, fit_chain
from calbench.benchmark.evaluation.entries import evaluation_name
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.methods import Calibrator

FOLDS = 5


def tuning_score(part: SplitPredictions, calibrators: tuple[Calibrator, ...]) -> float:
    """The mean NLL in nats of a calibration split.

    Without calibrators the split is new to the network, and the NLL is taken as it is. A chain of calibrators is fitted
    on four fifths of the split and judged on the rest, five times, so that options which overfit do not win.

    Args:
        part: the calibration split.
        calibrators: the chain, not fitted.
    """
    if not calibrators:
        return float(functional.cross_entropy(part.logits.double(), part.labels))
    fold, losses = stratified_folds(part.labels, FOLDS), []
    for k in range(min(FOLDS, len(part))):
        fitted = fit_chain(calibrators, _rows(part, fold != k))
        out = apply_chain(fitted, _rows(part, fold == k))
        losses.append(functional.cross_entropy(out.logits.double(), out.labels, reduction="sum"))
    return float(sum(losses)) / len(part)


def _rows(part: SplitPredictions, keep: torch.Tensor) -> SplitPredictions:
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    return SplitPredictions(
        **cast("Any", {name: None if value is None else value[keep] for name, value in values.items()})
    )


def score_name(calibrators: tuple[Calibrator, ...], protocol: Protocol) -> str:
    """The name under which the score of a trial lies in a cell's folder, next to its evaluations."""
    parts = [calibrator.identity() for calibrator in calibrators]
    return digest({"code": source_digest(tuning_score), "calibrators": parts, "checkpoint": protocol.checkpoint})


def score_record(predictions: Predictions, calibrators: tuple[Calibrator, ...], protocol: Protocol) -> dict[str, float]:
    """What is stored of a trial: its score under the protocol's checkpoint rule."""
    return {"score": tuning_score(predictions[protocol.checkpoint, "calibration"], calibrators)}


def stored_names(entry: Entry, protocol: Protocol) -> list[str]:
    """The names of what is stored of an entry in a cell's folder: its evaluation, and the score of a trial."""
    names = [evaluation_name(entry.calibrators, protocol)]
    return [*names, score_name(entry.calibrators, protocol)] if entry.trial_of else names
