"""The public function `evaluate`: metrics with confidence intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np

from calbench.benchmark import metrics as metrics_package
from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.metrics.base import Metric, make_all
from calbench.benchmark.metrics.evaluation import PANEL
from calbench.benchmark.metrics.inputs import warn_of_probabilities
from calbench.benchmark.metrics.intervals import mean_interval, wilson_interval
from calbench.benchmark.metrics.sample import Sample
from calbench.benchmark.metrics.source import Source
from calbench.benchmark.statistics.calibration import calibration_interval
from calbench.benchmark.statistics.resampling import interval as percentiles
from calbench.benchmark.statistics.resampling import resampled
from calbench.benchmark.statistics.unseen import AllRight

NAN = float("nan")
REPLICATES = 1000


@dataclass(frozen=True)
class Estimate:
    """A metric's value with its interval, in the metric's unit.

    Attributes:
        value: by the metric's published definition.
        low: lower end of the interval of the population value; NaN if there is no interval.
        high: upper end. For a binned calibration error with few samples per cell it can be below `value`, which lies
            above the population value by about the noise floor.
        debiased: for a binned calibration error, the estimate without the upward bias of label noise; below 0 where
            the value is below its mean under perfect calibration. NaN for other metrics.
        low_signed: `low`, continued below 0 for a binned calibration error; intervals of differences are made from it.
        reason: why there is no interval; empty if there is one.
    """

    value: float
    low: float = NAN
    high: float = NAN
    debiased: float = NAN
    low_signed: float = NAN
    reason: str = ""

    def __float__(self) -> float:
        return self.value


@overload
def evaluate(
    *, logits: Any = ..., probabilities: Any = ..., labels: Any, metrics: Sequence[str] | None = ...,
    bins: int = ..., posterior: Any = ..., interval: None = None, seed: int = ...,
) -> dict[str, float]: ...  # fmt: skip
@overload
def evaluate(
    *, logits: Any = ..., probabilities: Any = ..., labels: Any, metrics: Sequence[str] | None = ...,
    bins: int = ..., posterior: Any = ..., interval: float, seed: int = ...,
) -> dict[str, Estimate]: ...  # fmt: skip
def evaluate(
    *,
    logits: Any = None,
    probabilities: Any = None,
    labels: Any,
    metrics: Sequence[str] | None = None,
    bins: int = DEFAULT_BINS,
    posterior: Any = None,
    interval: float | None = None,
    seed: int = 0,
) -> dict[str, float] | dict[str, Estimate]:
    """Evaluate predictions, with intervals if asked for.

    The interval of a mean over samples (NLL, Brier score, mean confidence minus accuracy) is Hall's for skewed scores
    (`calbench.benchmark.metrics.intervals.mean_interval`); where all predictions are right it allows for wrong ones
    that the sample lacks, by a rule of three. Of a share (accuracy) it is Wilson's; of a binned calibration error it is
    one for the population value of the same binned error, 0 included (`calibration_interval`); for other metrics it is
    of percentiles of 1,000 bootstrap resamples.

    Args:
        logits: (N, K), NumPy or torch, any float type, on any device.
        probabilities: (N, K) with rows that sum to one, in place of logits.
        labels: (N,) whole numbers in 0..K-1.
        metrics: names from the registry; `PANEL` by default.
        bins: number of bins of every binned metric.
        posterior: the true class distribution (N, K), for metrics that need it.
        interval: coverage of the intervals, such as 0.95; None for none.
        seed: of the bootstrap resamples, for the metrics that need them.

    Returns:
        Metric name to value in the metric's unit, or to an `Estimate` with ``value``, ``low`` and ``high``, in the
        order asked for.

    Raises:
        ValueError: as `calbench.benchmark.metrics.evaluate`; an interval that is not between 0 and 1.

    Example:
        >>> ece = evaluate(logits=[[2.0, 0.0]] * 4, labels=[0, 0, 0, 1], metrics=["ece"], interval=0.95)["ece"]
        >>> ece.low <= ece.value <= ece.high
        True
    """
    if interval is None:
        return metrics_package.evaluate(
            logits=logits, probabilities=probabilities, labels=labels, metrics=metrics, bins=bins, posterior=posterior
        )
    made = make_all(PANEL if metrics is None else metrics, bins)
    source = Source(logits=logits, probabilities=probabilities, labels=labels, posterior=posterior)
    if source.is_logits:
        warn_of_probabilities(source.values)
    return estimates(Sample(source), made, level=interval, seed=seed)


def estimates(
    sample: Sample,
    metrics: Mapping[str, Metric],
    *,
    level: float = 0.95,
    replicates: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
) -> dict[str, Estimate]:
    """The value and interval of each metric of a sample.

    Args:
        sample: the predictions.
        metrics: by name.
        level: coverage of the intervals.
        replicates: bootstrap values (R,) by name, as of `bootstrap`; made for the metrics that need them by default.
        seed: of the resamples that are made.

    Raises:
        ValueError: a level that is not between 0 and 1, or bad predictions.
    """
    if not 0 < level < 1:
        raise ValueError(f"interval={level!r}: expected the coverage, a number between 0 and 1 such as 0.95")
    sample.collect([part for metric in metrics.values() for part in metric.parts()])
    values = {name: metric.value(sample) for name, metric in metrics.items()}
    if replicates is None:
        names = [name for name, metric in metrics.items() if metric.resampled and metric.sampling in _BY_RESAMPLING]
        replicates = resampled(sample, {name: metrics[name] for name in names}, REPLICATES, seed) if names else {}
    means = any(metric.sampling == "mean" for metric in metrics.values())
    all_right = AllRight(sample) if means and len(sample) > 1 and sample.correct.all() else None
    return {
        name: _estimate(metric, values[name], sample, replicates.get(name), level, all_right)
        for name, metric in metrics.items()
    }


_ONE_SAMPLE = "of one sample the spread is not known"
_BY_RESAMPLING = ("smooth", "excess")


def _estimate(
    metric: Metric,
    value: float,
    sample: Sample,
    replicates: np.ndarray | None,
    level: float,
    all_right: AllRight | None,
) -> Estimate:
    if not np.isfinite(value):
        return Estimate(value, reason=_not_finite(metric, value))
    match metric.sampling:
        case "gaps":
            found = calibration_interval(metric.gaps(sample), level)
            ends = min(max(found.low, 0.0), found.high), found.high
            low, high = _within(metric, 100 * ends[0], 100 * ends[1])
            return Estimate(value, low, high, 100 * found.debiased, 100 * found.low)
        case "mean" if len(sample) < 2:
            return Estimate(value, reason=_ONE_SAMPLE)
        case "mean":
            low, high = mean_interval(metric.scores(sample), level)
            if all_right is not None:
                added = all_right.further(metric, level)
                low, high = min(low, value + added), max(high, value + added)
        case "share":
            low, high = _share_interval(metric.scores(sample), level)
        case "bounds":
            low, high = metric.bounds(sample, level)
        case "none":
            return Estimate(value, reason=metric.no_interval)
        case _:
            if len(sample) < 2:
                return Estimate(value, reason=_ONE_SAMPLE)
            if replicates is None or not metric.resampled:
                return Estimate(value, reason="this metric has no bootstrap replicates")
            low, high = percentiles(replicates, level)
            if np.isnan(low):
                return Estimate(value, reason="some bootstrap resamples have no value")
            if metric.sampling == "excess":
                # Quadratic near 0, an excess grows with the noise of a resample: its percentiles would never reach 0.
                low = min(max(2 * value - high, 0.0), high)
    low, high = _within(metric, low, high)
    return Estimate(value, low, high, low_signed=low)


def _not_finite(metric: Metric, value: float) -> str:
    if np.isinf(value):
        return "infinite: a true class has probability 0"
    return f"{metric.spec.name} is not defined on these predictions"


def _within(metric: Metric, low: float, high: float) -> tuple[float, float]:
    return float(np.clip(low, metric.lowest, metric.highest)), float(np.clip(high, metric.lowest, metric.highest))


def _share_interval(scores: np.ndarray, level: float) -> tuple[float, float]:
    hits = np.array([np.count_nonzero(scores)], dtype=float)
    low, high = wilson_interval(hits, np.array([len(scores)]), level)
    return 100 * float(low[0]), 100 * float(high[0])
