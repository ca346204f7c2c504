"""Reliability diagrams: accuracy against confidence in equal-width bins, with an interval for each bin's accuracy."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.metrics.intervals import wilson_interval
from calbench.benchmark.metrics.parts import TopLabel
from calbench.benchmark.metrics.sample import PointView, Sample
from calbench.benchmark.metrics.source import Source


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin (low, high] of the confidences; all but `count` are fractions in 0..1, NaN in an empty bin.

    Attributes:
        low: lower edge.
        high: upper edge.
        count: number of samples.
        confidence: their mean confidence.
        accuracy: the share of right predictions among them.
        accuracy_low: lower end of the accuracy's Wilson interval.
        accuracy_high: upper end.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float

    def as_dict(self) -> dict[str, Any]:
        """The bin as plain data."""
        return asdict(self)


def reliability(
    *, logits: Any = None, probabilities: Any = None, labels: Any, bins: int = DEFAULT_BINS, level: float = 0.95
) -> list[ReliabilityBin]:
    """The bins of a reliability diagram, the same bins as those of `ece`.

    Args:
        logits: (N, K), NumPy or torch.
        probabilities: (N, K) with rows that sum to one, in place of logits.
        labels: (N,) whole numbers in 0..K-1.
        bins: number of equal-width bins.
        level: coverage of the intervals.

    Raises:
        ValueError: bad input; the message says what and where.
    """
    if bins < 1 or not 0 < level < 1:
        raise ValueError(f"reliability: bins={bins} must be at least 1 and level={level} between 0 and 1")
    sample = Sample(Source(logits=logits, probabilities=probabilities, labels=labels))
    sample.collect([TopLabel()])
    view, index = PointView(sample), sample.bin_of(bins)
    counts = view.segments(index, bins)[0]
    correct = view.segments(index, bins, sample.correct)[0]
    with np.errstate(invalid="ignore"):
        confidence = view.segments(index, bins, sample.confidence)[0] / counts
        accuracy = correct / counts
    low, high = wilson_interval(correct, counts, level)
    columns = zip(counts.astype(int), confidence, accuracy, low, high, strict=True)
    return [
        ReliabilityBin(b / bins, (b + 1) / bins, int(row[0]), *(float(v) for v in row[1:]))
        for b, row in enumerate(columns)
    ]
