"""Evaluates several metrics in one pass over the predictions."""

from collections.abc import Sequence
from typing import Any

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.metrics.base import make_all
from calbench.benchmark.metrics.inputs import warn_of_probabilities
from calbench.benchmark.metrics.sample import Sample
from calbench.benchmark.metrics.source import Source

PANEL = ("accuracy", "nll", "brier", "ece", "mce", "adaece", "classwise-ece", "signed-gap")
"""The metrics that `evaluate` computes by default."""


def evaluate(
    *,
    logits: Any = None,
    probabilities: Any = None,
    labels: Any,
    metrics: Sequence[str] | None = None,
    bins: int = DEFAULT_BINS,
    posterior: Any = None,
) -> dict[str, float]:
    """Evaluate predictions.

    The N x K numbers are read once, in blocks, whatever the metrics; memory beyond the input is a few numbers per
    sample and per class. Sums are float64.

    Args:
        logits: (N, K), NumPy or torch, any float type, on any device.
        probabilities: (N, K) with rows that sum to one, in place of logits.
        labels: (N,) whole numbers in 0..K-1.
        metrics: names from the registry; `PANEL` by default.
        bins: number of bins of every binned metric.
        posterior: the true class distribution (N, K), for metrics that need it.

    Returns:
        Metric name to value, in the metric's unit (per cent, nats), in the order asked for.

    Raises:
        ValueError: both or neither of logits and probabilities, an unknown metric, NaN or infinite logits, a row that
            is no distribution, labels out of range; the message says what and where.
    """
    made = make_all(PANEL if metrics is None else metrics, bins)
    source = Source(logits=logits, probabilities=probabilities, labels=labels, posterior=posterior)
    if source.is_logits:
        warn_of_probabilities(source.values)
    sample = Sample(source)
    sample.collect([part for metric in made.values() for part in metric.parts()])
    return {name: metric.value(sample) for name, metric in made.items()}
