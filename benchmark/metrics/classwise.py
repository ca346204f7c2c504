"""The residual sums of classwise calibration error: per class and bin, or as coordinates for a bootstrap."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Some functions of torch have no complete types.
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from calbench.benchmark.metrics.parts import Array, Collector, Part, bin_edges, bin_index
from calbench.benchmark.metrics.source import Block, Source

_PENDING = 2**18
"""Probabilities above the first edge that are gathered before they are placed: many blocks' worth in one call."""


@dataclass
class ClasswiseEntries:
    """The terms of the classwise residual sums that are not in the first bin, as coordinates.

    The residual sum of class k in bin b adds ``values[j]`` of sample ``rows[j]`` for every j with
    ``cells[j] = k * bins + b``. Of the first bins, what is missing is minus the sum of all probabilities of a class.
    """

    rows: Array
    cells: Array
    values: Array


@dataclass
class ClasswiseSums:
    """Sums per class k and equal-width bin of p_k, each (K, bins) float64.

    Attributes:
        counts: samples whose p_k is in the bin.
        hits: those of class k among them.
        probabilities: the sum of their p_k.
    """

    counts: Array
    hits: Array
    probabilities: Array

    @property
    def residuals(self) -> Array:
        """Sums of ``[y = k] - p_k``."""
        return self.hits - self.probabilities

    def __add__(self, other: "ClasswiseSums") -> "ClasswiseSums":
        return ClasswiseSums(
            self.counts + other.counts, self.hits + other.hits, self.probabilities + other.probabilities
        )


@dataclass(frozen=True)
class Classwise(Part):
    """`ClasswiseSums` of every class k and equal-width bin of p_k.

    A row has fewer than `bins` probabilities above the first edge, so that all others go into the first bin as one
    column sum and only the few are placed one by one.
    With `entries`, gives `ClasswiseEntries` instead: what a bootstrap needs.
    """

    bins: int
    entries: bool = False

    @override
    def collector(self, source: Source) -> Collector:
        return (_EntryCollector if self.entries else _SumCollector)(source, self.bins)

    @override
    def join(self, results: Sequence[Any]) -> Any:
        if not self.entries:
            return reduce(add, results)
        columns = zip(*((r.rows, r.cells, r.values) for r in results), strict=True)
        return ClasswiseEntries(*(np.concatenate(column) for column in columns))


class _ClasswiseCollector(Collector):
    """Gathers the probabilities above the first edge, and hands them on many blocks at a time."""

    def __init__(self, source: Source, bins: int) -> None:
        self.source, self.bins, self.classes, device = source, bins, source.num_classes, source.values.device
        self.places = _PlacesAbove(float(bin_edges(bins, source.dtype)[0]) if bins > 1 else 2.0)
        self.label_probability = torch.empty(source.num_rows, dtype=source.dtype, device=device)
        self.pending: list[tuple[Tensor, Tensor]] = []
        self.waiting = 0

    def add(self, block: Block) -> None:
        flat = block.probabilities.reshape(-1)
        places = self.places(flat)
        self.pending.append((places + block.start * self.classes, flat[places]))
        self.waiting += len(places)
        self.label_probability[block.rows] = block.label_probability
        if self.waiting > _PENDING:
            self._flush()

    def _flush(self) -> None:
        if self.pending:
            places, above = (torch.cat(parts) for parts in zip(*self.pending, strict=True))
            self.pending, self.waiting = [], 0
            first = places.remainder(self.classes).mul_(self.bins)
            self._place(places, first, first + bin_index(above, self.bins), above.double())

    @abstractmethod
    def _place(self, places: Tensor, first: Tensor, own: Tensor, above: Tensor) -> None:
        """Take probabilities out of the first bin of their class into their own.

        Args:
            places: their places in the flat predictions.
            first: the cell of the first bin of each one's class.
            own: the cell of its own bin.
            above: the probabilities, float64.
        """

    def _label_cells(self) -> Tensor:
        return self.source.labels * self.bins + bin_index(self.label_probability, self.bins)


class _SumCollector(_ClasswiseCollector):
    def __init__(self, source: Source, bins: int) -> None:
        super().__init__(source, bins)
        device = source.values.device
        self.columns = torch.zeros(self.classes, dtype=torch.float64, device=device)
        self.counts = torch.zeros(self.classes * bins, dtype=torch.int64, device=device)
        self.sums = torch.zeros(self.classes * bins, dtype=torch.float64, device=device)

    @override
    def add(self, block: Block) -> None:
        super().add(block)
        self.columns += _column_sums(block.probabilities)

    @override
    def _place(self, places: Tensor, first: Tensor, own: Tensor, above: Tensor) -> None:
        self.sums.index_add_(0, own, above)
        self.counts += torch.bincount(own, minlength=len(self.counts))

    @override
    def result(self) -> ClasswiseSums:
        self._flush()
        shape = (self.classes, self.bins)
        hits = torch.bincount(self._label_cells(), minlength=len(self.sums)).double()
        counts, probabilities = self.counts.view(shape).double(), self.sums.view(shape)
        counts[:, 0] += self.source.num_rows - counts.sum(dim=1)  # what is above no edge is in the first bin
        probabilities[:, 0] += self.columns - probabilities.sum(dim=1)
        return ClasswiseSums(*(values.view(shape).cpu().numpy() for values in (counts, hits, probabilities)))


class _EntryCollector(_ClasswiseCollector):
    def __init__(self, source: Source, bins: int) -> None:
        super().__init__(source, bins)
        self.parts: list[tuple[Array, Array, Array]] = []

    @override
    def _place(self, places: Tensor, first: Tensor, own: Tensor, above: Tensor) -> None:
        rows = torch.div(places, self.classes, rounding_mode="floor")
        self._keep(torch.cat([rows, rows]), torch.cat([own, first]), torch.cat([-above, above]))

    def _keep(self, rows: Tensor, cells: Tensor, values: Tensor) -> None:
        self.parts.append(cast("Any", tuple(part.cpu().numpy() for part in (rows + self.source.offset, cells, values))))

    @override
    def result(self) -> ClasswiseEntries:
        self._flush()
        labels = self.source.labels
        rows = torch.arange(len(labels), device=labels.device)
        self._keep(rows, self._label_cells(), torch.ones_like(labels, dtype=torch.float64))
        return ClasswiseEntries(*(np.concatenate(parts) for parts in zip(*self.parts, strict=True)))


@dataclass(frozen=True, eq=False)
class GroupedClasswise(Part):
    """The residual sums of `Classwise` in groups of samples, the first bins as in `ClasswiseEntries`: (B, K bins).

    Attributes:
        bins: number of equal-width bins.
        groups: the group of each sample (N,).
        size: B, the number of groups.
    """

    bins: int
    groups: Array
    size: int

    @override
    def collector(self, source: Source) -> Collector:
        return _GroupCollector(source, self)

    @override
    def join(self, results: Sequence[Array]) -> Array:
        return reduce(add, results)


class _GroupCollector(_ClasswiseCollector):
    def __init__(self, source: Source, part: GroupedClasswise) -> None:
        super().__init__(source, part.bins)
        device = source.values.device
        inside = part.groups[source.offset : source.offset + source.num_rows]
        self.width = source.num_classes * part.bins
        self.first_cells = torch.from_numpy(inside.astype(np.int64)).to(device) * self.width
        self.sums = torch.zeros(part.size * self.width, dtype=torch.float64, device=device)

    @override
    def _place(self, places: Tensor, first: Tensor, own: Tensor, above: Tensor) -> None:
        base = self.first_cells[torch.div(places, self.classes, rounding_mode="floor")]
        self.sums.index_add_(0, base + own, -above)
        self.sums.index_add_(0, base + first, above)

    @override
    def result(self) -> Array:
        self._flush()
        ones = torch.ones(len(self.first_cells), dtype=torch.float64, device=self.sums.device)
        self.sums.index_add_(0, self.first_cells + self._label_cells(), ones)
        return self.sums.view(-1, self.width).cpu().numpy()


@dataclass(frozen=True)
class SignedResidual(Part):
    """The sum over k of ``+-([y = k] - p_k)`` of each sample, with a sign per class and bin of p_k: (N,) float64.

    Args:
        bins: number of equal-width bins.
        positive: whether the sign of each class and bin is plus: a (K, bins) array of bool as bytes.
    """

    bins: int
    positive: bytes

    @override
    def collector(self, source: Source) -> Collector:
        return _SignedCollector(source, self)

    @override
    def join(self, results: Sequence[Array]) -> Array:
        return np.concatenate(results)


class _SignedCollector(_ClasswiseCollector):
    def __init__(self, source: Source, part: SignedResidual) -> None:
        super().__init__(source, part.bins)
        device = source.values.device
        positive = torch.frombuffer(bytearray(part.positive), dtype=torch.bool)
        self.signs = (2.0 * positive.double() - 1).to(device)
        self.first = self.signs.view(self.classes, self.bins)[:, 0].to(source.dtype)
        self.totals = torch.zeros(source.num_rows, dtype=torch.float64, device=device)

    @override
    def add(self, block: Block) -> None:
        super().add(block)
        self.totals[block.rows] -= (block.probabilities @ self.first).double()

    @override
    def _place(self, places: Tensor, first: Tensor, own: Tensor, above: Tensor) -> None:
        rows = torch.div(places, self.classes, rounding_mode="floor")
        self.totals.index_add_(0, rows, (self.signs[first] - self.signs[own]) * above)

    @override
    def result(self) -> Array:
        self._flush()
        return (self.totals + self.signs[self._label_cells()]).cpu().numpy()


def _column_sums(probabilities: Tensor) -> Tensor:
    if len(probabilities) <= 1024:  # short enough for float32: the error stays below 1e-6 of the sum
        return (probabilities.new_ones(len(probabilities)) @ probabilities).double()
    return probabilities.sum(dim=0, dtype=torch.float64)


class _PlacesAbove:
    """The places of the numbers above an edge, in a flat tensor; NumPy finds them in a third of torch's time."""

    def __init__(self, edge: float) -> None:
        self.edge = edge
        self.mask: Array = np.empty(0, dtype=bool)

    def __call__(self, flat: Tensor) -> Tensor:
        if flat.device.type != "cpu":
            return (flat > self.edge).nonzero().flatten()
        values = flat.numpy()
        if len(self.mask) < len(values):
            self.mask = np.empty(len(values), dtype=bool)
        return torch.from_numpy(np.flatnonzero(np.greater(values, self.edge, out=self.mask[: len(values)])))
