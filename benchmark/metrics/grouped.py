"""A view of a large sample under bootstrap resampling of groups of its rows."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Some functions of numpy and scipy have no complete types.
from collections.abc import Mapping
from typing import cast

import numpy as np
from scipy import sparse
from typing_extensions import override

from calbench.benchmark.metrics.classwise import Classwise, ClasswiseEntries, GroupedClasswise
from calbench.benchmark.metrics.sample import Array, Ranking, Sample, View
from calbench.benchmark.metrics.source import Source

RUNS = 2048
"""Runs of equal mass into which a ranking is cut; edges of bins within a run are interpolated."""

_DENSE = 0.02  # share of nonzero sums above which a dense product takes less time


class GroupedView(View):
    """Groups of rows weighted by the counts of R bootstrap resamples of the groups.

    Rows are in B groups of nearly equal size at random, so that sums over groups are independent and equally
    distributed, and resampling them is a bootstrap of every statistic that is a function of sums: with memory and time
    that grow as N + R B, not as R N. The variance of a mean under it is unbiased, with a relative standard deviation of
    sqrt(2 / B).

    Args:
        sample: the sample.
        groups: the group of each row (N,).
        counts: how often each resample holds each group, (R, B).
        columns: the sums of all probabilities of each class in each group (B, K), where a metric needs `classwise`.
        tables: parts of the sample that have the sums by group, class and bin, by number of bins; of other numbers the
            sums are made from `ClasswiseEntries`.
    """

    def __init__(
        self,
        sample: Sample,
        groups: Array,
        counts: Array,
        columns: Array | None = None,
        tables: Mapping[int, GroupedClasswise] | None = None,
    ) -> None:
        super().__init__(sample)
        self.groups = groups
        weights = counts.astype(np.float64)
        sizes = np.bincount(groups, minlength=counts.shape[1])
        self.weights = weights * (len(sample) / (weights @ sizes))[:, None]
        self.columns, self.tables = columns, tables or {}
        self._cumulative: dict[tuple[int, int], tuple[Array | None, Ranking, Array]] = {}

    @override
    def mean(self, values: Array) -> Array:
        values = values.astype(np.float64)
        finite = np.isfinite(values)
        means = self.weights @ self._group_sums(np.where(finite, values, 0)) / len(self)
        if finite.all():
            return means
        has_infinite = self.weights @ self._group_sums(~finite) > 0
        return np.where(has_infinite, values[~finite].sum(), means)

    @override
    def segments(self, index: Array, size: int, values: Array | None = None) -> Array:
        return self._weighted(index, self.groups, values, size)

    @override
    def cumulative(self, values: Array | None = None, ranking: Ranking | None = None) -> Array:
        ranking = ranking or self.sample.by_confidence
        key = id(values), id(ranking)
        if key not in self._cumulative:  # the arrays are kept with their sums, so that no other array gets their id
            self._cumulative[key] = (values, ranking, self._cumulate(values, ranking))
        return self._cumulative[key][2]

    def _cumulate(self, values: Array | None, ranking: Ranking) -> Array:
        edges = np.linspace(0, len(self), RUNS + 1)[1:]
        ends = np.unique(ranking.ends[np.searchsorted(ranking.ends, edges)])
        runs = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
        ordered = None if values is None else values[ranking.order]
        sums = self._weighted(runs, self.groups[ranking.order], ordered, len(ends))
        return np.concatenate([np.zeros((len(sums), 1)), np.cumsum(sums, axis=1)], axis=1)

    @override
    def classwise(self, bins: int) -> Array:
        num_classes = self.sample.source.num_classes
        if bins in self.tables:
            sums = self.weights @ self.sample[self.tables[bins]]
        else:
            entries: ClasswiseEntries = self.sample[Classwise(bins, entries=True)]
            sums = self._weighted(entries.cells, self.groups[entries.rows], entries.values, num_classes * bins)
        sums = sums.reshape(len(self.weights), num_classes, bins)
        if self.columns is None:
            raise ValueError("this view was made without the column sums that classwise metrics need")
        sums[:, :, 0] -= self.weights @ self.columns
        return sums

    def _group_sums(self, values: Array) -> Array:
        return np.bincount(self.groups, weights=values, minlength=self.weights.shape[1])

    def _weighted(self, cells: Array, groups: Array, values: Array | None, size: int) -> Array:
        """The weighted sums of `values`, or counts, by cell: (R, size)."""
        shape = size, self.weights.shape[1]
        if shape[0] * shape[1] <= 4 * len(cells):
            places = cells.astype(np.int64) * shape[1] + groups
            sums = np.bincount(places, weights=values, minlength=shape[0] * shape[1]).reshape(shape)
            return self.weights @ sums.T
        data = np.ones(len(cells)) if values is None else values.astype(np.float64)
        placed = sparse.csr_array((data, (cells, groups)), shape=shape)
        if placed.nnz > _DENSE * shape[0] * shape[1]:
            return self.weights @ placed.toarray().T
        return np.ascontiguousarray((placed @ self.weights.T).T)


def group_columns(source: Source, groups: Array, size: int) -> Array:
    """The sums of all probabilities of each class in each group, in one pass.

    Args:
        source: the predictions.
        groups: the group of each row (N,).
        size: B, the number of groups.

    Returns:
        (B, K) float64.
    """
    return cast("Array", sum(source.map_stripes(lambda stripe: _stripe_columns(stripe, groups, size))))


def _stripe_columns(source: Source, groups: Array, size: int) -> Array:
    sums = np.zeros((size, source.num_classes))
    for block in source.blocks():
        part = block.probabilities.cpu().numpy().astype(np.float64)
        first = source.offset + block.start
        inside = groups[first : first + len(part)]
        placed = sparse.csr_array((np.ones(len(part)), (inside, np.arange(len(part)))), shape=(size, len(part)))
        sums += placed @ part
    return sums
