"""The input of metrics: a sample of predictions, and views of it with rows weighted once or by resampling counts."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Some functions of numpy and scipy have no complete types.
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property
from typing import Any, cast

import numpy as np
from scipy import sparse
from typing_extensions import override

from calbench.benchmark.core.bins import bin_of
from calbench.benchmark.metrics.classwise import Classwise, ClasswiseEntries
from calbench.benchmark.metrics.parts import LogRest, Part, Prediction, ProperScores, TopK, TopLabel, Truth
from calbench.benchmark.metrics.source import Source

Array = np.ndarray


class Sample:
    """Predictions of N samples, reduced to small statistics as metrics ask for them.

    Args:
        source: the checked predictions.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self._parts: dict[Part, Any] = {}

    def __len__(self) -> int:
        return self.source.num_rows

    def collect(self, parts: Iterable[Part]) -> None:
        """Fill those of `parts` that are not filled yet, in one pass over the predictions."""
        missing = [part for part in dict.fromkeys(parts) if part not in self._parts]
        if not missing:
            return
        stripes = self.source.map_stripes(lambda stripe: _fill(missing, stripe))
        self._parts |= {p: p.join(results) for p, results in zip(missing, zip(*stripes, strict=True), strict=True)}

    def __getitem__(self, part: Part) -> Any:
        """The filled `part`."""
        self.collect([part])
        return self._parts[part]

    @cached_property
    def confidence(self) -> Array:
        """The largest probability of each sample (N,), of the type that was computed in."""
        return self[TopLabel()]["confidence"]

    @cached_property
    def correct(self) -> Array:
        """Whether each prediction is right (N,) bool."""
        return self[TopLabel()]["correct"]

    @cached_property
    def residual(self) -> Array:
        """Correctness minus confidence (N,) float64."""
        return self.correct - self.confidence.astype(np.float64)

    @cached_property
    def nll(self) -> Array:
        """-log p_y (N,) in nats."""
        return self[ProperScores()]["nll"]

    @cached_property
    def brier(self) -> Array:
        """Brier score (N,) in 0..2."""
        return self[ProperScores()]["brier"]

    @cached_property
    def prediction(self) -> Array:
        """The predicted class (N,)."""
        return self[Prediction()]["prediction"]

    def top_k_hit(self, k: int) -> Array:
        """Whether the true class is among the `k` most probable (N,) bool."""
        return self[TopK(k)]["hit"]

    @cached_property
    def truth(self) -> dict[str, Array]:
        """KL divergence from the true class distribution, and the true accuracy of each prediction, each (N,)."""
        return self[Truth()]

    def bin_of(self, bins: int) -> Array:
        """The equal-width bin of each confidence (N,): bin b holds (b/bins, (b+1)/bins], the first one 0 too."""
        return bin_of(self.confidence, bins)

    @cached_property
    def by_confidence(self) -> "Ranking":
        """The samples by rising confidence."""
        return Ranking(self.confidence)

    @cached_property
    def by_certainty(self) -> "Ranking":
        """The samples by falling log(1 - confidence): as by rising confidence, but never tied by rounding to 1."""
        return Ranking(-self[LogRest()]["log_rest"])


class Ranking:
    """Samples in rising order of `keys` (N,).

    Attributes:
        order: the samples in that order (N,).
        ends: the last rank of each run of equal keys, plus one.
    """

    def __init__(self, keys: Array) -> None:
        self.order = np.argsort(keys, kind="stable")
        ranked = keys[self.order]
        self.ends = np.append(np.flatnonzero(ranked[1:] != ranked[:-1]) + 1, len(ranked))


def _fill(parts: list[Part], source: Source) -> list[Any]:
    collectors = [part.collector(source) for part in parts]
    for block in source.blocks():
        for collector in collectors:
            collector.add(block)
    return [collector.result() for collector in collectors]


class View(ABC):
    """A `Sample` with R weightings of its rows; every statistic has R as its first dimension."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample

    def __len__(self) -> int:
        """N, the same under every weighting."""
        return len(self.sample)

    @abstractmethod
    def mean(self, values: Array) -> Array:
        """The weighted mean of `values` (N,): (R,)."""

    @abstractmethod
    def segments(self, index: Array, size: int, values: Array | None = None) -> Array:
        """The weighted sum of `values` (N,), or the count, for each value of `index` in 0..size-1: (R, size)."""

    @abstractmethod
    def cumulative(self, values: Array | None = None, ranking: Ranking | None = None) -> Array:
        """Cumulative weighted sums of `values` (N,), or counts, along a ranking, by default of confidence: (R, G+1).

        G is the number of distinct keys; entry g sums the samples of the g smallest. Samples of equal keys are never
        told apart, so that nothing depends on their order.
        """

    @abstractmethod
    def classwise(self, bins: int) -> Array:
        """Sums of ``[y = k] - p_k`` per class and equal-width bin of p_k: (R, K, bins)."""

    def equal_mass(self, bins: int, values: Array | None = None) -> tuple[Array, Array]:
        """Sums of `values` (N,) and sample counts of `bins` equal-mass bins of the confidences: (R, bins) and (bins,).

        Bin b is of the ranks floor(bN/bins) to floor((b+1)N/bins) - 1. Samples of equal confidence on both sides of a
        bin's edge share their values evenly. The values are the residuals by default.
        """
        edges = np.arange(bins + 1) * len(self) // bins
        counts, sums = self.cumulative(), self.cumulative(self.sample.residual if values is None else values)
        prefixes = np.stack([np.interp(edges, c, s) for c, s in zip(counts, sums, strict=True)])
        return np.diff(prefixes, axis=1), np.diff(edges)


class PointView(View):
    """Every row once: R = 1."""

    @override
    def mean(self, values: Array) -> Array:
        return np.array([values.mean(dtype=np.float64)])

    @override
    def segments(self, index: Array, size: int, values: Array | None = None) -> Array:
        return np.bincount(index, weights=values, minlength=size)[None].astype(np.float64)

    @override
    def cumulative(self, values: Array | None = None, ranking: Ranking | None = None) -> Array:
        ranking = ranking or self.sample.by_confidence
        if values is None:
            return np.append(0.0, ranking.ends)[None]
        sums = np.cumsum(values[ranking.order], dtype=np.float64)
        return np.append(0.0, sums[ranking.ends - 1])[None]

    @override
    def classwise(self, bins: int) -> Array:
        return self.sample[Classwise(bins)].residuals[None]


class ResampledView(View):
    """Rows weighted by the counts of R bootstrap resamples.

    Args:
        sample: the sample.
        counts: how often each resample holds each row, (R, N) uint8.
        columns: the weighted sums of all probabilities of each class (R, K), where a metric needs `classwise`.
    """

    def __init__(self, sample: Sample, counts: Array, columns: Array | None = None) -> None:
        super().__init__(sample)
        self.raw_counts = counts
        self.counts = counts.astype(np.float64)
        self.columns = columns
        self._cumulative: dict[tuple[int, int], tuple[Array | None, Ranking, Array]] = {}
        self._ranked: dict[int, Array] = {}

    @override
    def mean(self, values: Array) -> Array:
        values = values.astype(np.float64)
        finite = np.isfinite(values)
        if finite.all():
            return self.counts @ values / len(self)
        means = self.counts @ np.where(finite, values, 0) / len(self)  # 0 x inf would make every mean a NaN
        return np.where(self.counts[:, ~finite].any(axis=1), values[~finite].sum(), means)

    @override
    def segments(self, index: Array, size: int, values: Array | None = None) -> Array:
        data = np.ones(len(self)) if values is None else values.astype(np.float64)
        return self._sparse_sums(index, np.arange(len(self)), data, size)

    @override
    def cumulative(self, values: Array | None = None, ranking: Ranking | None = None) -> Array:
        ranking = ranking or self.sample.by_confidence
        key = id(values), id(ranking)
        if key not in self._cumulative:  # the arrays are kept with their sums, so that no other array gets their id
            self._cumulative[key] = (values, ranking, self._cumulate(values, ranking))
        return self._cumulative[key][2]

    def _cumulate(self, values: Array | None, ranking: Ranking) -> Array:
        order, ends = ranking.order, ranking.ends
        sums = np.zeros((len(self.counts), len(order) + 1))
        terms = self._ranked_counts(ranking)
        if values is not None:
            terms = terms * values[order]
        np.cumsum(terms, axis=1, dtype=np.float64, out=sums[:, 1:])
        return sums if len(ends) == len(order) else sums[:, np.append(0, ends)]

    @override
    def equal_mass(self, bins: int, values: Array | None = None) -> tuple[Array, Array]:
        """As for any view, one resample after the other: what is between them stays in the processor's cache."""
        edges = np.arange(bins + 1) * len(self) // bins
        ranking = self.sample.by_confidence
        ordered = (self.sample.residual if values is None else values)[ranking.order]
        ends = np.append(0, ranking.ends) if len(ranking.ends) < len(ordered) else slice(None)
        prefixes = np.empty((len(self.raw_counts), bins + 1))
        rising, sums = np.zeros(len(ordered) + 1, dtype=np.int64), np.zeros(len(ordered) + 1)
        for row, counts in zip(prefixes, self._ranked_counts(ranking), strict=True):
            np.cumsum(counts, out=rising[1:])
            np.cumsum(counts * ordered, out=sums[1:])
            row[:] = _between(edges, rising[ends], sums[ends])
        return np.diff(prefixes, axis=1), np.diff(edges)

    def _ranked_counts(self, ranking: Ranking) -> Array:
        if id(ranking) not in self._ranked:  # bytes: gathering them costs an eighth of gathering float64
            self._ranked[id(ranking)] = self.raw_counts[:, ranking.order]
        return self._ranked[id(ranking)]

    @cached_property
    def _transposed(self) -> Array:
        return np.ascontiguousarray(self.raw_counts.T).astype(np.float64)

    @override
    def classwise(self, bins: int) -> Array:
        entries: ClasswiseEntries = self.sample[Classwise(bins, entries=True)]
        num_classes = self.sample.source.num_classes
        sums = self._sparse_sums(entries.cells, entries.rows, entries.values, num_classes * bins)
        sums = sums.reshape(len(self.counts), num_classes, bins)
        if self.columns is None:
            raise ValueError("this view was made without the column sums that classwise metrics need")
        sums[:, :, 0] -= self.columns
        return sums

    def _sparse_sums(self, cells: Array, rows: Array, values: Array, size: int) -> Array:
        placed = sparse.csr_array((values, (cells, rows)), shape=(size, len(self)))
        return np.ascontiguousarray((placed @ self._transposed).T)


def _between(points: Array, places: Array, values: Array) -> Array:
    """`np.interp` of few `points` between the first and the last of many rising `places`, which are not copied."""
    left = np.minimum(np.searchsorted(places, points, side="right"), len(places) - 1) - 1
    slopes = (values[left + 1] - values[left]) / np.maximum(places[left + 1] - places[left], 1)
    return np.where(points == places[-1], values[-1], slopes * (points - places[left]) + values[left])


def column_sums(source: Source, counts: Array) -> Array:
    """The sums of all probabilities of each class under each weighting, in one pass.

    Args:
        source: the predictions.
        counts: (R, N) uint8.

    Returns:
        (R, K) float64.
    """
    return cast("Array", sum(source.map_stripes(lambda stripe: _stripe_column_sums(stripe, counts))))


def _stripe_column_sums(source: Source, counts: Array) -> Array:
    sums = np.zeros((len(counts), source.num_classes))
    for block in source.blocks():
        for start in range(0, len(block.labels), 1024):  # short sums, so that float32 loses nothing
            part = block.probabilities[start : start + 1024].cpu().numpy()
            first = source.offset + block.start + start
            sums += counts[:, first : first + len(part)].astype(part.dtype) @ part
    return sums
