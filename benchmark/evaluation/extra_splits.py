"""Evaluation of shifted and out-of-distribution splits: one split in memory at a time, all entries of a cell on it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from calbench.benchmark import metrics, statistics
from calbench.benchmark.config.extra_splits import OOD, SHIFT, Extra, ExtraSplit, severity_group
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.core.hashing import digest
from calbench.benchmark.core.seeds import seed_for
from calbench.benchmark.core.sources import source_digest
from calbench.benchmark.evaluation.chains import Chain, Fits, apply_chain
from calbench.benchmark.evaluation.entries import Evaluation
from calbench.benchmark.metrics.detection import (
    OF_CONFIDENCE,
    Observed,
    Reference,
    detection_scores,
    selective_risk,
    separations,
)
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.methods import Calibrator

REPLICATES = 200
"""Most bootstrap replicates of a shifted split: they are averaged over corruptions, and there are many splits."""
BEFORE = "-uncalibrated"
"""What follows the name of an out-of-distribution group where scores are those before calibration."""

Scores = dict[str, np.ndarray]


def extra_name(calibrators: Iterable[Calibrator], protocol: Protocol, extra: Extra) -> str:
    """The name of the evaluation of further splits in a cell's folder: a hash of everything that determines it."""
    names = [*protocol.metrics, *(n for n in metrics.registry if "out-of-distribution" in metrics.registry[n].needs)]
    return digest(
        {
            "code": source_digest(ExtraEvaluator),
            "calibrators": [calibrator.identity() for calibrator in calibrators],
            "metrics": {name: source_digest(metrics.registry[name]) for name in names},
            "bins": protocol.bins,
            "bootstrap": protocol.bootstrap,
            "checkpoints": protocol.checkpoints,
            "splits": [(split.name, split.group, split.key) for split in extra.splits],
            "fit": extra.fit.key if extra.fit else None,
        }
    )


@dataclass
class _Mean:
    """The running mean of metrics and replicates over the splits of a group."""

    count: int = 0
    values: dict[str, float] = field(default_factory=dict)
    replicates: Scores = field(default_factory=dict)

    def add(self, values: Mapping[str, float], replicates: Scores) -> None:
        """Take one split in."""
        self.count += 1
        for name, value in values.items():
            self.values[name] = self.values.get(name, 0.0) + value
        for name, drawn in replicates.items():
            self.replicates[name] = self.replicates.get(name, 0.0) + drawn

    def mean(self) -> tuple[dict[str, float], Scores]:
        """The means."""
        values = {name: value / self.count for name, value in self.values.items()}
        return values, {name: drawn / self.count for name, drawn in self.replicates.items()}


@dataclass
class _Scored:
    """The scores of the test split, and what those of out-of-distribution splits refer to."""

    reference: Reference
    inside: Scores


def _scored(calibration: Observed, labels: torch.Tensor, test: Observed) -> _Scored:
    reference = Reference(calibration, labels)
    return _Scored(reference, detection_scores(test, reference))


@dataclass
class _State:
    """One chain of calibrators under one checkpoint rule."""

    fitted: list[Calibrator]
    predicted: torch.Tensor
    correct: np.ndarray
    of_test: "_Scored | None"
    groups: dict[str, _Mean] = field(default_factory=dict)


class ExtraEvaluator:
    """Evaluates every entry of a cell on one split after the other.

    Args:
        base: the cell's own predictions.
        chains: the calibrators of each evaluation, by its name.
        protocol: metrics, bins, bootstrap replicates, checkpoint rules.
        fit: predictions by checkpoint rule that calibrators are fitted on in place of the calibration split, or None.
        graded: whether there are severities, so that the clean test split is evaluated too, as severity 0.
        detecting: whether there are out-of-distribution splits, whose scores refer to the test and calibration splits.
        fits: of the cell's own evaluations, whose calibrators are the same unless `fit` is given.
    """

    def __init__(
        self, base: Predictions, chains: Mapping[str, Chain], protocol: Protocol,
        fit: Mapping[str, SplitPredictions] | None = None, graded: bool = False, detecting: bool = True,
        fits: Fits | None = None,
    ) -> None:  # fmt: skip
        self.base, self.protocol, self.detecting = base, protocol, detecting
        self._fits = fits if fits and not fit else Fits()
        self.evaluations: dict[str, Evaluation] = {name: Evaluation() for name in chains}
        self.failures: dict[str, Exception] = {}
        self._states: dict[tuple[str, str], _State] = {}
        self._raw: dict[str, _Scored] = {}
        for rule in protocol.checkpoints:
            calibration, test = base[rule, "calibration"], base[rule, "test"]
            if detecting:
                self._raw[rule] = _scored(_observed(calibration), calibration.labels, _observed(test))
            for name, chain in chains.items():
                try:
                    self._states[name, rule] = self._fitted(name, chain, rule, fit[rule] if fit else calibration)
                except Exception as error:  # a calibrator may fail in any way, and the other entries go on
                    self.failures[name] = error
                    continue
                if graded:
                    self._shifted(name, rule, test, severity_group(0), None, None)

    def _fitted(self, name: str, chain: Chain, rule: str, on: SplitPredictions) -> _State:
        fitted, messages = self._fits.fit(chain, on, rule)
        evaluation = self.evaluations[name]
        evaluation.warnings += [message for message in messages if message not in evaluation.warnings]
        test = apply_chain(fitted, self.base[rule, "test"])
        scored = None
        if self.detecting:
            calibration = apply_chain(fitted, self.base[rule, "calibration"])
            scored = _scored(Observed(calibration.logits), calibration.labels, Observed(test.logits))
        predicted = test.logits.argmax(dim=1)
        return _State(fitted, predicted, (predicted == test.labels).numpy(), scored)

    def add(self, split: ExtraSplit, parts: Mapping[str, SplitPredictions]) -> None:
        """Evaluate every entry on `parts`, the predictions of `split` by checkpoint rule."""
        for rule in self.protocol.checkpoints:
            outside = (
                detection_scores(_observed(parts[rule]), self._raw[rule].reference)
                if split.name.startswith(OOD)
                else {}
            )
            for (name, of), state in self._states.items():
                if of != rule or name in self.failures:
                    continue
                part = apply_chain(state.fitted, parts[rule])
                if split.name.startswith(OOD):
                    self._outside(name, rule, part, split, outside)
                else:
                    classes = getattr(split, "classes", None)
                    self._shifted(name, rule, part, split.name, split.group, classes)

    def _shifted(
        self, name: str, rule: str, part: SplitPredictions, split: str, group: str | None,
        classes: tuple[int, ...] | None,
    ) -> None:  # fmt: skip
        state = self._states[name, rule]
        if split == severity_group(0):
            part = apply_chain(state.fitted, part)
        changed = _changed(part, state.predicted) if split.startswith(f"{SHIFT}patch") else {}
        part = _restricted(part, classes)
        asked = [n for n in self.protocol.metrics if not metrics.registry[n].needs]
        inputs: dict[str, Any] = {"logits": part.logits, "labels": part.labels}
        inputs |= {"metrics": asked, "bins": self.protocol.bins}
        values = metrics.evaluate(**inputs) | changed
        replicates: Scores = {}
        if self.protocol.bootstrap:
            count = min(self.protocol.bootstrap, REPLICATES)
            # One seed for all splits of a size: corruptions of the same images are resampled alike.
            replicates = statistics.bootstrap(replicates=count, seed=seed_for(0, "bootstrap-shift"), **inputs)
            # Resampled calibration errors lie above the value; what counts here is their spread, around the value.
            replicates = {name: drawn - drawn.mean() + values[name] for name, drawn in replicates.items()}
        self._add(name, rule, split, group, values, replicates)

    def _outside(self, name: str, rule: str, part: SplitPredictions, split: ExtraSplit, raw: Scores) -> None:
        state = self._states[name, rule]
        assert state.of_test is not None
        scores = _of_confidence(detection_scores(Observed(part.logits), state.of_test.reference))
        before = self._raw[rule].inside
        inside = _of_confidence(state.of_test.inside) | {k: v for k, v in before.items() if k not in OF_CONFIDENCE}
        outside = scores | {k: v for k, v in raw.items() if k not in OF_CONFIDENCE}
        values = separations(inside, outside)
        values["scod"] = selective_risk(inside["max-softmax"], state.correct, outside["max-softmax"])
        self._add(name, rule, split.name, split.group, values, {})
        if state.fitted and split.group:
            unchanged = separations(_of_confidence(before), _of_confidence(raw))
            state.groups.setdefault(f"{split.group}{BEFORE}", _Mean()).add(unchanged, {})

    def _add(
        self, name: str, rule: str, split: str, group: str | None, values: Mapping[str, float], replicates: Scores
    ) -> None:
        self._rows(name, rule, split, values, {} if group else replicates)
        if group:
            self._states[name, rule].groups.setdefault(group, _Mean()).add(values, replicates)

    def _rows(self, name: str, rule: str, split: str, values: Mapping[str, float], replicates: Scores) -> None:
        evaluation, where = self.evaluations[name], {"checkpoint": rule, "split": split}
        evaluation.rows += [
            where | {"metric": metric, "value": value, "low": None, "high": None} | _interval(replicates.get(metric))
            for metric, value in values.items()
        ]
        if replicates:
            evaluation.replicates[rule, split] = replicates

    def finish(self) -> dict[str, Evaluation]:
        """The evaluations that worked, with the means over groups; call it once, after the last split."""
        for (name, rule), state in self._states.items():
            for group, mean in state.groups.items():
                self._rows(name, rule, group, *mean.mean())
        return {name: evaluation for name, evaluation in self.evaluations.items() if name not in self.failures}


def _observed(part: SplitPredictions) -> Observed:
    return Observed(part.logits, part.features, part.temperature)


def _of_confidence(scores: Scores) -> Scores:
    return {name: values for name, values in scores.items() if name in OF_CONFIDENCE}


def _changed(part: SplitPredictions, predicted: torch.Tensor) -> dict[str, float]:
    """The share of predictions that are not those of the clean image, per cent."""
    return {"changed-predictions": 100 * float((part.logits.argmax(dim=1) != predicted).double().mean())}


def _restricted(part: SplitPredictions, classes: tuple[int, ...] | None) -> SplitPredictions:
    """The predictions among the classes that occur, where they are not all: logits (N, K') and labels 0..K'-1."""
    if classes is None:
        return part
    kept = torch.tensor(classes)
    return SplitPredictions(part.logits[:, kept], torch.searchsorted(kept, part.labels))


def _interval(drawn: np.ndarray | None) -> dict[str, Any]:
    if drawn is None:
        return {}
    low, high = statistics.interval(drawn)
    return {"low": low, "high": high}
