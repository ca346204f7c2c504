"""The NLL of softmax(beta z) as a function of the inverse temperature beta, in blocks and without a copy of z."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional

BLOCK_ELEMENTS = 400_000
"""Elements of one block: its few temporaries stay in the processor's cache."""


def blocks(logits: Tensor) -> Iterator[slice]:
    """Slices of rows that cover `logits` (N, K), a cache-sized block each; large blocks on an accelerator."""
    elements = BLOCK_ELEMENTS if logits.device.type == "cpu" else 64 * BLOCK_ELEMENTS
    rows = max(1, elements // logits.shape[1])
    return (slice(start, start + rows) for start in range(0, len(logits), rows))


def in_blocks(function: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    """`function` of the rows of `logits`, block by block; of all at once while a map is traced or exported."""
    if tracing():
        return function(logits)
    return torch.cat([function(logits[rows]) for rows in blocks(logits)])


def tracing() -> bool:
    """Whether the operations are being recorded, by torch.jit or torch.export, instead of run."""
    return torch.jit.is_tracing() or torch.compiler.is_exporting()


def slope_and_curvature(logits: Tensor, labels: Tensor, beta: float) -> tuple[float, float]:
    """First and second derivative in beta of the mean NLL of softmax(beta z).

    The slope is mean(E_p z - z_y), the curvature mean(Var_p z). Elements in the precision of `logits` (N, K), relative
    to the row's largest; sums over rows in float64.
    """
    totals = torch.zeros(2, dtype=torch.float64, device=logits.device)
    for rows in blocks(logits):
        shifted = logits[rows] - logits[rows].amax(dim=1, keepdim=True)
        weights = (shifted * beta).exp_()
        mass = weights.sum(dim=1)
        mean = weights.mul_(shifted).sum(dim=1) / mass
        square = weights.mul_(shifted).sum(dim=1) / mass
        own = shifted.gather(1, labels[rows, None]).squeeze(1)
        totals += torch.stack([(mean - own).double().sum(), (square - mean * mean).double().sum()])
    slope, curvature = (totals / len(logits)).tolist()
    return slope, max(curvature, 0.0)


def mean_nll(logits: Tensor, labels: Tensor, temperature: float = 1.0) -> float:
    """The mean NLL of softmax(z / T) in nats, in blocks, summed in float64."""
    total = torch.zeros((), dtype=torch.float64, device=logits.device)
    for rows in blocks(logits):
        scaled = logits[rows] / temperature
        total += functional.cross_entropy(scaled, labels[rows], reduction="none").double().sum()
    return float(total) / len(logits)


def spread(logits: Tensor) -> float:
    """The mean over rows of the standard deviation over classes: the scale of the logits, 0 where all are alike."""
    return float(logits.std(dim=1, correction=0).double().mean())
