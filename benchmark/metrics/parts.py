"""What metrics keep of the predictions: small statistics per sample and per class, filled block by block.

A part is a value: two metrics that ask for the same part share it, and all parts that are asked for together are
filled in one pass. Stripes of the rows are filled apart and joined.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from .source import Block, Source

Array = np.ndarray


class Collector(ABC):
    """Fills one part."""

    @abstractmethod
    def add(self, block: Block) -> None:
        """Take what the part needs of a block."""

    @abstractmethod
    def result(self) -> Any:
        """What the rows give: NumPy arrays."""


class Part(ABC):
    """A statistic of the predictions; hashable, so a frozen dataclass."""

    @abstractmethod
    def collector(self, source: Source) -> Collector:
        """A collector for the rows of `source`."""

    @abstractmethod
    def join(self, results: Sequence[Any]) -> Any:
        """One result from those of consecutive stripes of the rows."""


class _RowPart(Part):
    """Numbers per row, by name."""

    def join(self, results: Sequence[dict[str, Array]]) -> dict[str, Array]:
        return {name: np.concatenate([result[name] for result in results]) for name in results[0]}


class _RowCollector(Collector):
    """Numbers per row: one array (N,) for each of the functions of a block."""

    def __init__(self, source: Source, functions: dict[str, Any], dtypes: dict[str, torch.dtype]) -> None:
        self.functions = functions
        self.arrays = {
            name: torch.empty(source.num_rows, dtype=dtypes[name], device=source.values.device) for name in functions
        }

    def add(self, block: Block) -> None:
        for name, function in self.functions.items():
            self.arrays[name][block.rows] = function(block)

    def result(self) -> dict[str, Array]:
        return {name: array.cpu().numpy() for name, array in self.arrays.items()}


@dataclass(frozen=True)
class TopLabel(_RowPart):
    """``confidence`` (N,) and ``correct`` (N,) bool."""

    @override
    def collector(self, source: Source) -> Collector:
        return _RowCollector(
            source,
            {"confidence": lambda block: block.confidence, "correct": lambda block: block.correct},
            {"confidence": source.dtype, "correct": torch.bool},
        )


@dataclass(frozen=True)
class ProperScores(_RowPart):
    """``nll`` (N,) in nats and ``brier`` (N,) in 0..2."""

    @override
    def collector(self, source: Source) -> Collector:
        return _RowCollector(
            source,
            {"nll": lambda block: block.nll, "brier": _brier},
            {"nll": source.dtype, "brier": source.dtype},
        )


def _brier(block: Block) -> Tensor:
    squares = torch.linalg.vector_norm(block.probabilities, dim=1).double() ** 2
    return (squares - 2 * block.label_probability.double() + 1).clamp_(min=0)


@dataclass(frozen=True)
class Prediction(_RowPart):
    """``prediction`` (N,) int64: the predicted class."""

    @override
    def collector(self, source: Source) -> Collector:
        return _RowCollector(source, {"prediction": lambda block: block.prediction}, {"prediction": torch.int64})


@dataclass(frozen=True)
class TopK(_RowPart):
    """``hit`` (N,) bool: whether the true class is among the `k` largest scores, the first of equal ones counting."""

    k: int

    @override
    def collector(self, source: Source) -> Collector:
        return _RowCollector(source, {"hit": self._hit}, {"hit": torch.bool})

    def _hit(self, block: Block) -> Tensor:
        target = block.label_score[:, None]
        above = (block.scores > target).sum(dim=1)
        hit = above < self.k
        tied = (hit & ((block.scores == target).sum(dim=1) > 1)).nonzero().flatten()
        if len(tied):
            earlier = torch.arange(block.scores.shape[1], device=hit.device) < block.labels[tied, None]
            hit[tied] = above[tied] + ((block.scores[tied] == target[tied]) & earlier).sum(dim=1) < self.k
        return hit


@dataclass(frozen=True)
class Truth(_RowPart):
    """Against the true class distribution q: ``divergence`` (N,) KL(q, p), and ``accuracy`` (N,) q of the prediction.

    Raises:
        ValueError: when it is collected from predictions without a posterior.
    """

    @override
    def collector(self, source: Source) -> Collector:
        if source.posterior is None:
            raise ValueError("this metric needs the true class distribution: pass posterior=")
        return _RowCollector(
            source,
            {"divergence": _divergence, "accuracy": lambda b: b.posterior.gather(1, b.prediction[:, None])[:, 0]},
            {"divergence": torch.float64, "accuracy": torch.float64},
        )


def _divergence(block: Block) -> Tensor:
    log_p = block.scores.double().log_softmax(dim=1) if block.is_logits else block.probabilities.double().log()
    q = block.posterior
    return (torch.special.xlogy(q, q) - torch.where(q > 0, q * log_p, 0)).sum(dim=1)


@cache
def bin_edges(bins: int, dtype: torch.dtype) -> Tensor:
    """The inner edges of `bins` bins (a, b] of equal width on [0, 1], as numbers of the type that is compared."""
    return (torch.arange(1, bins, dtype=torch.float64) / bins).to(dtype)


def bin_index(values: Tensor, bins: int) -> Tensor:
    """The bin of each value: bin b holds (b/bins, (b+1)/bins], the first one 0 too."""
    return torch.bucketize(values, bin_edges(bins, values.dtype).to(values.device))


@dataclass
class ClasswiseEntries:
    """The terms of the classwise residual sums that are not in the first bin, as coordinates.

    The residual sum of class k in bin b adds ``values[j]`` of sample ``rows[j]`` for every j with
    ``cells[j] = k * bins + b``. Of the first bins, what is missing is minus the sum of all probabilities of a class.
    """

    rows: Array
    cells: Array
    values: Array


@dataclass(frozen=True)
class Classwise(Part):
    """Sums of ``[y = k] - p_k`` per class k and equal-width bin of p_k: (K, bins) float64.

    A row has fewer than `bins` probabilities above the first edge, so that all others go into the first bin as one
    column sum and only the few are placed one by one.
    With `entries`, gives `ClasswiseEntries` instead: what a bootstrap needs.
    """

    bins: int
    entries: bool = False

    @override
    def collector(self, source: Source) -> Collector:
        return (_ClasswiseEntryCollector if self.entries else _ClasswiseSumCollector)(source, self.bins)

    @override
    def join(self, results: Sequence[Any]) -> Any:
        if not self.entries:
            return sum(results)
        columns = zip(*((r.rows, r.cells, r.values) for r in results), strict=True)
        return ClasswiseEntries(*(np.concatenate(column) for column in columns))


class _ClasswiseSumCollector(Collector):
    def __init__(self, source: Source, bins: int) -> None:
        self.shape = (source.num_classes, bins)
        self.edge = float(bin_edges(bins, source.dtype)[0]) if bins > 1 else 2.0
        self.columns = torch.zeros(source.num_classes, dtype=torch.float64, device=source.values.device)
        self.sums = torch.zeros(source.num_classes * bins, dtype=torch.float64, device=source.values.device)
        self.ones = torch.ones(source.block_rows, dtype=torch.float64, device=source.values.device)
        self.mask = torch.empty(source.block_rows * source.num_classes, dtype=torch.bool, device=source.values.device)

    def add(self, block: Block) -> None:
        classes, bins = self.shape
        self.columns += _column_sums(block.probabilities)
        places, above, labels = self._above(block)
        first = places.remainder(classes).mul_(bins)
        above64 = above.double()
        self.sums.index_add_(0, first + bin_index(above, bins), above64, alpha=-1)
        self.sums.index_add_(0, first, above64)
        self.sums.index_add_(0, labels, self.ones[: len(labels)])

    def _above(self, block: Block) -> tuple[Tensor, Tensor, Tensor]:
        """Places and values of the probabilities above the first edge, and the cells of the true classes."""
        flat = block.probabilities.reshape(-1)
        places = _true_places(torch.gt(flat, self.edge, out=self.mask[: len(flat)]))
        return places, flat[places], block.labels * self.shape[1] + bin_index(block.label_probability, self.shape[1])

    def result(self) -> Array:
        sums = self.sums.view(self.shape)
        sums[:, 0] -= self.columns
        return sums.cpu().numpy()


class _ClasswiseEntryCollector(_ClasswiseSumCollector):
    def __init__(self, source: Source, bins: int) -> None:
        super().__init__(source, bins)
        self.offset = source.offset
        self.parts: list[tuple[Array, Array, Array]] = []

    def add(self, block: Block) -> None:
        classes, bins = self.shape
        places, above, labels = self._above(block)
        rows = torch.div(places, classes, rounding_mode="floor")
        first = (places - rows * classes) * bins
        above64 = above.double()
        rows = torch.cat([rows, rows, torch.arange(len(labels), device=labels.device)])
        cells = torch.cat([first + bin_index(above, bins), first, labels])
        values = torch.cat([-above64, above64, self.ones[: len(labels)]])
        self.parts.append(tuple(part.cpu().numpy() for part in (rows + self.offset + block.start, cells, values)))

    def result(self) -> ClasswiseEntries:
        return ClasswiseEntries(*(np.concatenate(parts) for parts in zip(*self.parts, strict=True)))


def _column_sums(probabilities: Tensor) -> Tensor:
    if len(probabilities) <= 1024:  # short enough for float32: the error stays below 1e-6 of the sum
        return (probabilities.new_ones(len(probabilities)) @ probabilities).double()
    return probabilities.sum(dim=0, dtype=torch.float64)


def _true_places(mask: Tensor) -> Tensor:
    if mask.device.type != "cpu":
        return mask.nonzero().flatten()
    return torch.from_numpy(np.flatnonzero(mask.numpy()))  # ten times as fast as torch's on a mostly false mask
