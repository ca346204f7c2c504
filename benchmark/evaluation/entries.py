"""From predictions to numbers: fits calibrators, computes metrics and their intervals. A pure function."""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from calbench.benchmark import metrics, statistics
from calbench.benchmark.config.entry import Entry
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.core.hashing import digest
from calbench.benchmark.core.schema import FEWEST_SAMPLES, NOISE_FLOOR, NOISE_FLOOR_95
from calbench.benchmark.core.seeds import seed_for
from calbench.benchmark.core.sources import source_digest
from calbench.benchmark.evaluation.chains import Fits, Fitted, apply_chain
from calbench.benchmark.metrics.base import make_all
from calbench.benchmark.metrics.sample import Sample
from calbench.benchmark.metrics.source import Source
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.methods import Calibrator

HISTOGRAM_BINS = 30
NOISE_FLOORS = (NOISE_FLOOR, NOISE_FLOOR_95)
"""Of every evaluation, from one simulation: its mean and its 95th percentile."""

Values = dict[str, np.ndarray]


@dataclass
class Evaluation:
    """One entry on one cell.

    Attributes:
        rows: dicts with checkpoint, split, metric, value, low, high.
        diagrams: reliability bins and temperature histograms by checkpoint and split.
        replicates: bootstrap replicates (R,) by checkpoint, split and metric.
        warnings: what the fits warned of.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    diagrams: list[dict[str, Any]] = field(default_factory=list)
    replicates: dict[tuple[str, str], Values] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def to_stored(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """Plain data and tensors, for the store."""
        tensors = {
            f"{checkpoint}/{split}/{metric}": torch.from_numpy(np.asarray(values, dtype=np.float32))
            for (checkpoint, split), by_metric in self.replicates.items()
            for metric, values in by_metric.items()
        }
        return {"rows": self.rows, "diagrams": self.diagrams, "warnings": self.warnings}, tensors

    @classmethod
    def from_stored(cls, record: dict[str, Any], tensors: dict[str, Tensor]) -> "Evaluation":
        """What `to_stored` gave."""
        evaluation = cls(record["rows"], record["diagrams"], warnings=record["warnings"])
        for name, values in tensors.items():
            checkpoint, split, metric = name.split("/")
            evaluation.replicates.setdefault((checkpoint, split), {})[metric] = values.numpy().astype(np.float64)
        return evaluation


def evaluation_name(calibrators: Iterable[Calibrator], protocol: Protocol) -> str:
    """The name of an evaluation in a cell's folder: a hash of everything that determines it."""
    known = metrics.registry
    unasked = (name for name in known if known[name].needs or name in NOISE_FLOORS)
    return digest(
        {
            "code": source_digest(evaluate_entry),
            "calibrators": [calibrator.identity() | _fitted_values(calibrator) for calibrator in calibrators],
            "metrics": {name: source_digest(known[name]) for name in (*protocol.metrics, *unasked)},
            "bins": protocol.bins,
            "bootstrap": protocol.bootstrap,
            "checkpoints": protocol.checkpoints,
        }
    )


def _fitted_values(calibrator: Calibrator) -> dict[str, str]:
    """The hash of the values of a calibrator that is fitted already; nothing for one that is still to be fitted."""
    if not hasattr(calibrator, "num_classes_"):
        return {}
    content = hashlib.sha256()
    for name, value in sorted(calibrator.fitted().items()):
        parts = value.state_dict().values() if isinstance(value, nn.Module) else [value]
        for part in parts:
            content.update(name.encode())
            content.update(part.detach().cpu().numpy().tobytes() if isinstance(part, Tensor) else repr(part).encode())
    return {"fitted": content.hexdigest()}


def evaluation_names(entries: Iterable[Entry], protocol: Protocol) -> dict[str, str]:
    """The name of the evaluation of each entry, the same in all cells."""
    evaluated = (one for entry in entries for one in entry.evaluated)
    return {one.name: evaluation_name(one.calibrators, protocol) for one in evaluated}


def evaluate_entry(
    predictions: Predictions, calibrators: tuple[Calibrator, ...], protocol: Protocol, fits: Fits | None = None
) -> Evaluation:
    """Fit a chain of calibrators on the calibration split and evaluate every other split.

    Without a calibration split the calibrators are used as they are, and must be fitted.

    Args:
        predictions: of a cell.
        calibrators: the chain.
        protocol: metrics, bins, bootstrap replicates, checkpoint rules.
        fits: of this cell, where its calibrators are used further; None to fit for this evaluation only.

    Raises:
        ValueError: a calibrator cannot be fitted on these predictions; the message says why.
    """
    evaluation, fits = Evaluation(), fits or Fits()
    for checkpoint in protocol.checkpoints:
        part = predictions.splits.get((checkpoint, "calibration"))
        fitted, messages = Fitted(list(calibrators), []) if part is None else fits.fit(calibrators, part, checkpoint)
        evaluation.warnings += [message for message in messages if message not in evaluation.warnings]
        for split in predictions.split_names(checkpoint):
            if split == "calibration":
                continue
            part = apply_chain(fitted, predictions[checkpoint, split])
            where = {"checkpoint": checkpoint, "split": split}
            if split.startswith("ood-"):
                rows = _detection_rows(apply_chain(fitted, predictions[checkpoint, "test"]), part)
            else:
                rows, replicates = _metric_rows(part, protocol, split)
                evaluation.replicates[checkpoint, split] = replicates
                evaluation.diagrams.append(where | _diagram(part, protocol.bins))
                rows += _temperature_rows(fitted, part)
            evaluation.rows += [where | row for row in rows]
    return evaluation


def _metric_rows(part: SplitPredictions, protocol: Protocol, split: str) -> tuple[list[dict[str, Any]], Values]:
    names = [
        name
        for name in dict.fromkeys((*protocol.metrics, *_posterior_metrics(part)))
        if name not in NOISE_FLOORS and ("posterior" not in metrics.registry[name].needs or part.posterior is not None)
    ]
    sample = Sample(Source(**part.scores(), labels=part.labels, posterior=part.posterior))
    made = make_all(names, protocol.bins)
    replicates = {}
    if protocol.bootstrap and len(part) >= FEWEST_SAMPLES:
        seed = seed_for(0, "bootstrap", split, len(part))  # equal for all entries on the same samples: paired
        replicates = statistics.resampled(sample, made, protocol.bootstrap, seed)
    estimates = statistics.estimates(sample, made, replicates=replicates)
    rows = [_estimate_row(name, estimates[name], bool(protocol.bootstrap)) for name in names]
    floor = statistics.noise_floor(confidences=sample.confidence, bins=protocol.bins)
    rows += [{"metric": name, "value": v} for name, v in zip(NOISE_FLOORS, (floor.mean, floor.q95), strict=True)]
    return [{"low": None, "high": None, "samples": len(part)} | row for row in rows], replicates


def _posterior_metrics(part: SplitPredictions) -> list[str]:
    if part.posterior is None:
        return []
    return [name for name in metrics.registry if "posterior" in metrics.registry[name].needs]


def _estimate_row(name: str, estimate: statistics.Estimate, with_interval: bool) -> dict[str, Any]:
    row = {"metric": name, "value": estimate.value, "debiased": estimate.debiased}
    if not with_interval:
        return row | {"reason": "no intervals were asked for (bootstrap: 0)"}
    ends = {"low": estimate.low, "high": estimate.high, "low_signed": estimate.low_signed}
    return row | ends | {"reason": estimate.reason}


def _detection_rows(test: SplitPredictions, other: SplitPredictions) -> list[dict[str, Any]]:
    """How well the calibrated confidences separate the out-of-distribution split from the test split."""
    found = metrics.evaluate_ood(logits=test.logits, ood_logits=other.logits)
    return [{"metric": name, "value": value, "low": None, "high": None} for name, value in found.items()]


def _temperature_rows(fitted: list[Calibrator], part: SplitPredictions) -> list[dict[str, Any]]:
    """The temperature of the last fitted calibrator that has one, and the mean of those that a head gives.

    They are two quantities: a fitted temperature is the best one for fixed logits; the level of a head's is not
    identified, since the classifier trained with it can make up for any factor.
    """
    fitted_ones = [cast("Any", c).temperature_ for c in fitted if isinstance(getattr(c, "temperature_", None), float)]
    values = {"temperature": fitted_ones[-1]} if fitted_ones else {}
    if part.temperature is not None:
        values["head-temperature"] = float(part.temperature.double().mean())
    return [{"metric": name, "value": value, "low": None, "high": None} for name, value in values.items()]


def _diagram(part: SplitPredictions, bins: int) -> dict[str, Any]:
    found = metrics.reliability(**part.scores(), labels=part.labels, bins=bins)
    diagram: dict[str, Any] = {"bins": [asdict(one) for one in found]}
    if part.temperature is None:
        return diagram | {"temperature": None}
    counts, edges = np.histogram(part.temperature.double().cpu().numpy(), bins=HISTOGRAM_BINS)
    return diagram | {"temperature": {"edges": edges.tolist(), "counts": counts.tolist()}}


def oracle_predictions(split: SplitPredictions) -> SplitPredictions:
    """The Bayes posterior itself as predictions: what no method can beat but by chance."""
    log_posterior = cast("Tensor", split.posterior).clamp_min(1e-300).log()
    return SplitPredictions(log_posterior, split.labels, posterior=split.posterior)
