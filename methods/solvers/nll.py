"""The NLL of softmax(beta z) as a function of the inverse temperature beta, in blocks and without a copy of z."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

BLOCK_ELEMENTS = 400_000
"""Elements of one block: its few temporaries stay in the processor's cache."""


LOWEST = -1e4
"""Scaled logits, relative to the row's largest, below which exp is zero in every precision: kept finite there."""


def blocks(logits: Tensor) -> Iterator[slice]:
    """Slices of rows that cover `logits` (N, K), a cache-sized block each; large blocks on an accelerator."""
    elements = BLOCK_ELEMENTS if logits.device.type == "cpu" else 64 * BLOCK_ELEMENTS
    rows = max(1, elements // logits.shape[1])
    return (slice(start, start + rows) for start in range(0, len(logits), rows))


def in_blocks(function: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """`function` of the rows of `logits`, block by block; of all rows at once during tracing or export."""
    if tracing():
        return function(logits)
    return torch.cat([function(logits[rows]) for rows in blocks(logits)])


def split_rows(rows: int, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """`tensors` of one length in parts of `rows` rows; unsplit while a calibrator is traced or exported."""
    if tracing():
        return iter([tensors])
    return zip(*(tensor.split(max(1, rows)) for tensor in tensors), strict=True)


def tracing() -> bool:
    """Whether the operations are being recorded, by torch.jit or torch.export, instead of run."""
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


def slope_and_curvature(
    logits: Tensor, labels: Tensor, beta: float, weights: Tensor | None = None
) -> tuple[float, float]:
    """First and second derivative in beta of the mean NLL of softmax(beta z).

    The slope is mean(E_p z - z_y), the curvature mean(Var_p z). Elements in the precision of `logits` (N, K), relative
    to the row's largest and in units of 1/beta, so that no magnitude of the logits overflows; sums over rows in
    float64.

    Args:
        logits: (N, K).
        labels: (N,).
        beta: the inverse temperature, above zero.
        weights: of each row (N,) with a mean of one, or None where all count once.
    """
    totals = torch.zeros(2, dtype=torch.float64, device=logits.device)
    for rows in blocks(logits):
        shifted = (logits[rows] - logits[rows].amax(dim=1, keepdim=True)).mul_(beta)
        own = shifted.gather(1, labels[rows, None]).squeeze(1)
        shifted.clamp_min_(LOWEST)
        masses = shifted.exp()
        mass = masses.sum(dim=1)
        mean = masses.mul_(shifted).sum(dim=1) / mass
        square = masses.mul_(shifted).sum(dim=1) / mass
        parts = torch.stack([(mean - own).double(), (square - mean * mean).double()])
        totals += parts.sum(dim=1) if weights is None else parts @ weights[rows]
    slope, curvature = (totals / len(logits)).tolist()
    return slope / beta, max(curvature, 0.0) / beta**2


def mean_nll(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> float:
    """The mean NLL of softmax(z / T) in nats, in blocks, summed in float64."""
    total = torch.zeros((), dtype=torch.float64, device=logits.device)
    for rows in blocks(logits):
        scaled = logits[rows] / temperature
        total += functional.cross_entropy(scaled, labels[rows], reduction="none").double().sum()
    return float(total) / len(logits)


def margins(logits: Tensor, labels: Tensor) -> Tensor:
    """The logit of the true class minus the largest of the others (N,) float64: negative where another class wins."""
    found = []
    for rows in blocks(logits):
        others = logits[rows].clone()
        own = others.gather(1, labels[rows, None]).squeeze(1)
        others.scatter_(1, labels[rows, None], -torch.inf)
        found.append(own.double() - others.amax(dim=1).double())
    return torch.cat(found)


def typical_gap(logits: Tensor, labels: Tensor) -> float:
    """The unit in which temperatures are searched for: the median size of the margins that are not zero.

    A class that is masked by a large negative logit, and outliers among the rows, leave it as it is. Where every true
    class ties with its largest rival it is the median gap between a row's largest and smallest logit; 0 where every
    row of logits is constant.
    """
    for gaps_of in (margins, _widths):
        gaps = gaps_of(logits, labels).abs()
        if (gaps > 0).any():
            return float(gaps[gaps > 0].median())
    return 0.0


def _widths(logits: Tensor, labels: Tensor) -> Tensor:
    """The gap between the largest and the smallest logit of each row (N,)."""
    return logits.amax(dim=1).double() - logits.amin(dim=1).double()
