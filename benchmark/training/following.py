"""The metrics by which checkpoint rules choose an epoch, computed on the calibration split after every epoch."""

from calbench.benchmark import metrics
from calbench.benchmark.config.training import FOLLOWED
from calbench.benchmark.predictions.predictions import SplitPredictions

AFFECTS_RESULTS = False  # unless a rule follows a metric, and then a cell's key contains this function too


def calibration_metrics(part: SplitPredictions, bins: int) -> dict[str, float]:
    """The metrics of the calibration split that a checkpoint rule may follow, the ECE of `bins` bins."""
    return metrics.evaluate(logits=part.logits, labels=part.labels, metrics=FOLLOWED, bins=bins)
