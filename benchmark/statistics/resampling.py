"""Bootstrap over test samples: many resamples of a panel of metrics from small statistics of the predictions."""

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.metrics.base import Metric, make_all
from calbench.benchmark.metrics.classwise import Classwise, GroupedClasswise
from calbench.benchmark.metrics.evaluation import PANEL
from calbench.benchmark.metrics.grouped import GroupedView, group_columns
from calbench.benchmark.metrics.parts import Part
from calbench.benchmark.metrics.sample import ResampledView, Sample, View, column_sums
from calbench.benchmark.metrics.source import Source

LARGE = 2**18
"""Samples above which groups of them are resampled: counts of every sample would take a gigabyte and minutes."""

GROUPS = 4096
"""Groups that a large sample is divided into: the variance of a resampled mean is exact to 2 %, as with any B."""

KEPT = 2**25
"""Counts of this many bytes, at most, are kept for the next sample of the same size."""

_BLOCK_NUMBERS = 2**21  # resampling counts handled at once: 16 MB of float64
_BLOCK_SUMS = 2**24  # sums per class and bin handled at once: 128 MB of float64


def resampling_counts(size: int, replicates: int, seed: int) -> np.ndarray:
    """How often each of `replicates` resamples with replacement holds each of `size` samples: (R, N) uint8, read-only.

    The counts depend only on the arguments, so that resamples of the same size and seed are paired.
    """
    return (_kept_counts if replicates * size <= KEPT else _new_counts)(size, replicates, seed)


def _new_counts(size: int, replicates: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    counts = np.empty((replicates, size), dtype=np.uint8)
    for row in counts:
        row[:] = np.bincount(generator.integers(0, size, size), minlength=size)
    counts.flags.writeable = False
    return counts


_kept_counts = lru_cache(maxsize=2)(_new_counts)
"""The last counts are kept: many calibrators are evaluated on the same samples."""


def bootstrap(
    *,
    logits: Any = None,
    probabilities: Any = None,
    labels: Any,
    metrics: Sequence[str] | None = None,
    replicates: int = 1000,
    seed: int = 0,
    bins: int = DEFAULT_BINS,
    posterior: Any = None,
) -> dict[str, np.ndarray]:
    """Values of metrics under resampling of the samples with replacement (Efron 1979).

    A resample has noise of its own on top of the sample's, and a binned calibration error, a sum of absolute values,
    grows with noise: its resampled values lie above the value itself, so that their percentiles are no interval for it
    (`calibration_interval` gives one). Their spread and their correlation with those of another model are of use.

    Two calls with the same seed and number of samples use the same resamples, so that the difference of their results
    is a paired bootstrap. The predictions are read twice at most; everything else works on per-sample statistics. Of
    more than 2^18 samples, 4,096 groups of samples at random are resampled in place of the samples.

    Args:
        logits: (N, K), NumPy or torch.
        probabilities: (N, K), in place of logits.
        labels: (N,).
        metrics: names; the default panel of `evaluate` where None.
        replicates: R, the number of resamples.
        seed: of the resamples.
        bins: number of bins of binned metrics.
        posterior: the true class distribution (N, K), for metrics that need it.

    Returns:
        Metric name to the R values (R,); all NaN for a metric that has no bootstrap (its ``resampled`` is False).

    Raises:
        ValueError: as `evaluate`; fewer than one replicate.
    """
    made = make_all(PANEL if metrics is None else metrics, bins)
    sample = Sample(Source(logits=logits, probabilities=probabilities, labels=labels, posterior=posterior))
    return resampled(sample, made, replicates, seed)


def resampled(sample: Sample, metrics: Mapping[str, Metric], replicates: int, seed: int) -> dict[str, np.ndarray]:
    """As `bootstrap`, of a sample that is there already.

    Raises:
        ValueError: fewer than one replicate.
    """
    if replicates < 1:
        raise ValueError(f"bootstrap: replicates={replicates} must be at least 1")
    live = {name: metric for name, metric in metrics.items() if metric.resampled}
    parts = {part for metric in live.values() for part in metric.parts()}
    bins = {part.bins for part in parts if isinstance(part, Classwise)}
    plain = [part for part in parts if not isinstance(part, Classwise)]
    counts, view = (_grouped if len(sample) > LARGE else _by_sample)(sample, plain, bins, replicates, seed)
    values = _resampled_values(live, view, counts, max(bins, default=0) * sample.source.num_classes)
    return {name: values[name] if name in values else np.full(replicates, np.nan) for name in metrics}


MakeView = Callable[[slice], View]


def _by_sample(
    sample: Sample, parts: list[Part], bins: set[int], replicates: int, seed: int
) -> tuple[np.ndarray, MakeView]:
    """The resampling counts of samples, and the view under some of them."""
    sample.collect([*parts, *(Classwise(number, entries=True) for number in bins)])
    counts = resampling_counts(len(sample), replicates, seed)
    columns = column_sums(sample.source, counts) if bins else None
    return counts, lambda rows: ResampledView(sample, counts[rows], None if columns is None else columns[rows])


def _grouped(
    sample: Sample, parts: list[Part], bins: set[int], replicates: int, seed: int
) -> tuple[np.ndarray, MakeView]:
    """The resampling counts of groups of samples, and the view under some of them."""
    groups = (np.arange(len(sample)) % GROUPS).astype(np.int16)
    np.random.default_rng([seed, 1]).shuffle(groups)
    tables = {
        number: GroupedClasswise(number, groups, GROUPS)
        for number in bins
        if GROUPS * sample.source.num_classes * number <= _BLOCK_SUMS
    }
    sample.collect([*parts, *tables.values(), *(Classwise(number, entries=True) for number in bins - tables.keys())])
    counts = resampling_counts(GROUPS, replicates, seed)
    columns = group_columns(sample.source, groups, GROUPS) if bins else None
    return counts, lambda rows: GroupedView(sample, groups, counts[rows], columns, tables)


def _resampled_values(
    metrics: dict[str, Metric], view: MakeView, counts: np.ndarray, cells: int
) -> dict[str, np.ndarray]:
    step = max(1, min(_BLOCK_NUMBERS // counts.shape[1], _BLOCK_SUMS // max(cells, 1)))
    pieces: dict[str, list[np.ndarray]] = {name: [] for name in metrics}
    for start in range(0, len(counts), step):
        weighted = view(slice(start, start + step))
        for name, metric in metrics.items():
            pieces[name].append(metric.values(weighted))
    return {name: np.concatenate(values) for name, values in pieces.items()}


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of bootstrap values (R,); (nan, nan) where any is NaN or there are none."""
    if len(values) == 0 or np.isnan(values).any():
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
