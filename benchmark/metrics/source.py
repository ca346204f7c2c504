"""One blocked pass over the predictions: every N x K number is read once, and no second N x K array is made."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Some functions of torch have no complete types.
import copy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor

from calbench.benchmark.metrics.inputs import as_labels, as_matrix, check_finite, check_probabilities

_BLOCK_ELEMENTS = {"cpu": 3 * 2**18}  # 3 MB of float32 stay in the cache; smaller blocks cost more calls than reads
_DEVICE_BLOCK_ELEMENTS = 2**24
_STRIPES = 8

T = TypeVar("T")


@dataclass
class Block:
    """Some rows of the predictions. Its tensors are valid until the next block: parts keep no reference to them.

    Attributes:
        start: number of the first row, within its source.
        probabilities: (n, K) float32, or float64 for float64 input.
        labels: (n,) int64.
        scores: the logits (n, K), or the probabilities if there are no logits: the array whose argmax is the
            prediction.
        is_logits: whether `scores` are logits.
        posterior: the true class distribution (n, K) float64, or None.
    """

    start: int
    probabilities: Tensor
    labels: Tensor
    scores: Tensor
    is_logits: bool
    posterior: Tensor | None

    @property
    def rows(self) -> slice:
        """The block's place among all rows."""
        return slice(self.start, self.start + len(self.labels))

    @cached_property
    def prediction(self) -> Tensor:
        """The predicted class (n,): the first of the largest scores."""
        if self.scores.device.type == "cpu":  # NumPy takes the largest of a row in a seventh of torch's time
            return torch.from_numpy(self.scores.numpy().argmax(axis=1))
        return self.scores.argmax(dim=1)

    @cached_property
    def confidence(self) -> Tensor:
        """The largest probability of each row (n,)."""
        return self._at(self.probabilities, self.prediction).clamp_(max=1)

    @cached_property
    def log_rest(self) -> Tensor:
        """log(1 - confidence) of each row (n,) float64: what ranks the samples where a confidence rounds to 1.

        Of logits it is exact at any confidence, to twelve decimals, so that no order of the classes breaks ties; of
        probabilities it knows no more than the confidence.
        """
        if not self.is_logits:
            return torch.log1p(-self.confidence.double())
        top = self.prediction[:, None]
        exact = self.scores.double()
        odds = exact.scatter(1, top, -torch.inf).logsumexp(dim=1) - exact.gather(1, top)[:, 0]
        return torch.nn.functional.logsigmoid(odds).round(decimals=12)

    @cached_property
    def top_score(self) -> Tensor:
        """The largest score of each row (n,)."""
        return self._at(self.scores, self.prediction)

    @cached_property
    def label_score(self) -> Tensor:
        """The score of the true class (n,)."""
        return self._at(self.scores, self.labels)

    @cached_property
    def label_probability(self) -> Tensor:
        """The probability of the true class (n,)."""
        return self._at(self.probabilities, self.labels).clamp_(0, 1)

    @staticmethod
    def _at(values: Tensor, classes: Tensor) -> Tensor:
        """The value of one class a row: of `values` (n, K), those at `classes` (n,)."""
        return values.gather(1, classes[:, None])[:, 0]


class Source:
    """Checked predictions, labels and, where it is known, the true class distribution.

    Args:
        logits: (N, K), any float type, NumPy or torch, on any device.
        probabilities: (N, K), in place of logits.
        labels: (N,) whole numbers in 0..K-1 of any type, or one-hot rows (N, K).
        posterior: (N, K), rows that sum to one.

    Raises:
        ValueError: both or neither of logits and probabilities, shapes that do not fit, or labels out of range.
    """

    def __init__(self, *, logits: Any = None, probabilities: Any = None, labels: Any, posterior: Any = None) -> None:
        if (logits is None) == (probabilities is None):
            raise ValueError("give either logits or probabilities" + (", not both" if logits is not None else ""))
        self.is_logits = logits is not None
        self.values = as_matrix(logits, "logits") if self.is_logits else as_matrix(probabilities, "probabilities")
        if self.values.device.type not in ("cpu", "cuda"):  # others lack the float64 that sums need
            self.values = self.values.cpu()
        self.num_rows, self.num_classes = self.values.shape
        self.labels = as_labels(labels, self.num_rows, self.num_classes).to(self.values.device)
        self.posterior = None if posterior is None else as_matrix(posterior, "posterior")
        if self.posterior is not None and self.posterior.shape != self.values.shape:
            shapes = tuple(self.posterior.shape), tuple(self.values.shape)
            raise ValueError(f"posterior: shape {shapes[0]} does not fit predictions of shape {shapes[1]}")

        self.offset = 0

    @property
    def dtype(self) -> torch.dtype:
        """The type that is computed in: float64 for float64 input, float32 otherwise; sums are always float64."""
        return torch.float64 if self.values.dtype == torch.float64 else torch.float32

    @property
    def block_rows(self) -> int:
        """Rows in a block."""
        elements = _BLOCK_ELEMENTS.get(self.values.device.type, _DEVICE_BLOCK_ELEMENTS)
        return max(1, elements // self.num_classes)

    def map_stripes(self, work: Callable[["Source"], T]) -> list[T]:
        """Apply `work` to stripes of the rows, in parallel on a CPU, and give the results in the order of the rows.

        The number of stripes depends only on the shape, so that sums over them never depend on the machine. Each
        thread takes whole blocks, and torch runs on one thread in it: a block is too small to share, and on a busy
        machine threads that share one wait for each other at every operation.
        """
        stripes = self._stripes()
        threads = torch.get_num_threads()
        try:
            if min(threads, len(stripes)) == 1 or self.values.device.type != "cpu":
                torch.set_num_threads(1)
                return [work(stripe) for stripe in stripes]
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                return list(pool.map(work, stripes))
        finally:
            torch.set_num_threads(threads)

    def _stripes(self) -> list["Source"]:
        blocks = -(-self.num_rows // self.block_rows)
        if blocks < 2 or self.values.device.type != "cpu":
            return [self]
        size = -(-blocks // _STRIPES) * self.block_rows
        return [self._stripe(slice(start, start + size)) for start in range(0, self.num_rows, size)]

    def _stripe(self, rows: slice) -> "Source":
        stripe = copy.copy(self)
        stripe.values, stripe.labels = self.values[rows], self.labels[rows]
        stripe.posterior = None if self.posterior is None else self.posterior[rows]
        stripe.num_rows, stripe.offset = len(stripe.values), self.offset + rows.start
        return stripe

    @torch.no_grad()
    def blocks(self) -> Iterator[Block]:
        """The rows in blocks, checked as they are read.

        Raises:
            ValueError: NaN or infinite logits, or a row that is no probability distribution; the message says which.
        """
        device, size = self.values.device, self.block_rows
        buffer = torch.empty(min(size, self.num_rows), self.num_classes, dtype=self.dtype, device=device)
        for start in range(0, self.num_rows, size):
            raw, first = self.values[start : start + size], self.offset + start
            if self.is_logits:
                check_finite(raw, first)
                scores = raw.to(self.dtype)
                probabilities = torch.softmax(scores, dim=1, out=buffer[: len(raw)])
            else:
                check_probabilities(raw, first)
                # What the tolerance lets through must not carry a score out of its range.
                scores = probabilities = torch.clamp(raw.to(self.dtype), 0, 1, out=buffer[: len(raw)])
            posterior = None
            if self.posterior is not None:
                posterior = self.posterior[start : start + size]
                check_probabilities(posterior, first, "posterior")
                posterior = posterior.to(device, torch.float64)
            yield Block(start, probabilities, self.labels[start : start + size], scores, self.is_logits, posterior)
