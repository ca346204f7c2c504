"""Typed records of reliability diagrams and training curves: the content of ``diagrams.json`` and ``curves.json``."""

import math

from pydantic import ConfigDict, Field

from calbench.benchmark.results.base_record import Record


class BinRecord(Record):
    """One bin of a reliability diagram; values are None in an empty bin."""

    low: float
    high: float
    count: float
    confidence: float | None = None
    accuracy: float | None = None
    accuracy_low: float | None = None
    accuracy_high: float | None = None

    @property
    def filled(self) -> bool:
        """Whether there are samples in it, with a confidence and an accuracy."""
        values = (self.confidence, self.accuracy)
        return self.count > 0 and all(value is not None and math.isfinite(value) for value in values)


class HistogramRecord(Record):
    """Counts between edges; one more edge than counts."""

    edges: tuple[float, ...]
    counts: tuple[float, ...]


class DiagramRecord(Record):
    """The reliability bins of one entry, seed, checkpoint and split, and a histogram of per-sample temperatures."""

    dataset: str
    backbone: str
    entry: str
    seed: int
    checkpoint: str | None = None
    split: str
    bins: tuple[BinRecord, ...] = ()
    temperature: HistogramRecord | None = None


class EpochRecord(Record):
    """What training recorded of one epoch; metrics are of the calibration split."""

    model_config = ConfigDict(frozen=True, extra="allow")
    epoch: int
    loss: float | None = None
    accuracy: float | None = None
    nll: float | None = None
    ece: float | None = None


class CurveRecord(Record):
    """The epochs of one training run, and which epoch each checkpoint rule chose."""

    dataset: str
    backbone: str
    recipe: str
    seed: int
    epochs: tuple[EpochRecord, ...] = ()
    checkpoints: dict[str, int] = Field(default_factory=dict)
