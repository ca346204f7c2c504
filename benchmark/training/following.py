"""The metrics by which checkpoint rules choose an epoch, computed on the calibration split after every epoch."""

from calbench.benchmark import metrics
from calbench.benchmark.config.training import FOLLOWED
from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.predictions.predictions import SplitPredictions

AFFECTS_RESULTS = False  # unless a rule follows a metric, and then a cell's key contains this function too
BINS = DEFAULT_BINS
"""Bins of the ECE that a checkpoint rule follows and that the curves show."""


def calibration_metrics(part: SplitPredictions) -> dict[str, float]:
    """The metrics of the calibration split that a checkpoint rule may follow."""
    return metrics.evaluate(logits=part.logits, labels=part.labels, metrics=FOLLOWED, bins=BINS)
