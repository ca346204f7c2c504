"""The statistics that metrics need of the predictions, small arrays per sample and per class, filled block by block.

A part is a value: two metrics that ask for the same part share it, and all parts that are asked for together are
filled in one pass. Stripes of the rows are filled apart and joined.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Some functions of torch have no complete types.
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from calbench.benchmark.core.bins import inner_edges
from calbench.benchmark.metrics.source import Block, Source

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
    """Numbers per row, by name.

    A block gives only what has to be read of its N x K numbers; the rest is done on the columns of a whole stripe,
    since many calls on short arrays cost more than the reading.
    """

    @override
    def collector(self, source: Source) -> Collector:
        return _RowCollector(self, source)

    @override
    def join(self, results: Sequence[dict[str, Array]]) -> dict[str, Array]:
        return {name: np.concatenate([result[name] for result in results]) for name in results[0]}

    @abstractmethod
    def columns(self, block: Block) -> dict[str, Tensor]:
        """What is kept of a block: arrays (n,) by name."""

    def finish(self, columns: dict[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
        """The numbers per row, from the columns (N,) of all blocks and the labels (N,)."""
        return columns


class _RowCollector(Collector):
    def __init__(self, part: _RowPart, source: Source) -> None:
        self.part, self.labels = part, source.labels
        self.arrays: dict[str, Tensor] = {}

    def add(self, block: Block) -> None:
        for name, values in self.part.columns(block).items():
            if name not in self.arrays:
                self.arrays[name] = values.new_empty(len(self.labels))
            self.arrays[name][block.rows] = values

    def result(self) -> dict[str, Array]:
        return {name: array.cpu().numpy() for name, array in self.part.finish(self.arrays, self.labels).items()}


@dataclass(frozen=True)
class TopLabel(_RowPart):
    """``confidence`` (N,) and ``correct`` (N,) bool."""

    @override
    def columns(self, block: Block) -> dict[str, Tensor]:
        return {"confidence": block.confidence, "prediction": block.prediction}

    @override
    def finish(self, columns: dict[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
        return {"confidence": columns["confidence"], "correct": columns["prediction"] == labels}


@dataclass(frozen=True)
class LogRest(_RowPart):
    """``log_rest`` (N,) float64: log(1 - confidence), which does not round to the same number where confidences do."""

    @override
    def columns(self, block: Block) -> dict[str, Tensor]:
        return {"log_rest": block.log_rest}


@dataclass(frozen=True)
class ProperScores(_RowPart):
    """``nll`` (N,) in nats and ``brier`` (N,) in 0..2, float64.

    Of logits, the NLL is exact where the probability itself underflows; of probabilities, it is inf where p_y = 0.
    """

    @override
    def columns(self, block: Block) -> dict[str, Tensor]:
        found = {"label": block.label_probability, "norm": torch.linalg.vector_norm(block.probabilities, dim=1)}
        if block.is_logits:
            found |= {"confidence": block.confidence, "top_score": block.top_score, "label_score": block.label_score}
        return found

    @override
    def finish(self, columns: dict[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
        exact = {name: column.double() for name, column in columns.items()}
        brier = (exact["norm"] ** 2 - 2 * exact["label"] + 1).clamp_(min=0)
        if "top_score" not in exact:
            return {"nll": -exact["label"].log(), "brier": brier}
        return {"nll": exact["top_score"] - exact["label_score"] - exact["confidence"].log(), "brier": brier}


@dataclass(frozen=True)
class Prediction(_RowPart):
    """``prediction`` (N,) int64: the predicted class."""

    @override
    def columns(self, block: Block) -> dict[str, Tensor]:
        return {"prediction": block.prediction}


@dataclass(frozen=True)
class TopK(_RowPart):
    """``hit`` (N,) bool: whether the true class is among the `k` largest scores, the first of equal ones counting."""

    k: int

    @override
    def columns(self, block: Block) -> dict[str, Tensor]:
        target = block.label_score[:, None]
        above = (block.scores > target).sum(dim=1)
        hit = above < self.k
        tied = (hit & ((block.scores == target).sum(dim=1) > 1)).nonzero().flatten()
        if len(tied):
            earlier = torch.arange(block.scores.shape[1], device=hit.device) < block.labels[tied, None]
            hit[tied] = above[tied] + ((block.scores[tied] == target[tied]) & earlier).sum(dim=1) < self.k
        return {"hit": hit}


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
        return super().collector(source)

    @override
    def columns(self, block: Block) -> dict[str, Tensor]:
        accuracy = cast("Tensor", block.posterior).gather(1, block.prediction[:, None])[:, 0]
        return {"divergence": _divergence(block), "accuracy": accuracy}


def _divergence(block: Block) -> Tensor:
    log_p = block.scores.double().log_softmax(dim=1) if block.is_logits else block.probabilities.double().log()
    q = cast("Tensor", block.posterior)
    return (torch.special.xlogy(q, q) - torch.where(q > 0, q * log_p, 0)).sum(dim=1)


@cache
def bin_edges(bins: int, dtype: torch.dtype) -> Tensor:
    """The inner edges of `bins` bins (a, b] of equal width on [0, 1], as numbers of the type that is compared."""
    return torch.from_numpy(inner_edges(bins)).to(dtype)


def bin_index(values: Tensor, bins: int) -> Tensor:
    """The bin of each value: bin b holds (b/bins, (b+1)/bins], the first one 0 too."""
    return torch.bucketize(values, bin_edges(bins, values.dtype).to(values.device))
