"""The clipping bound with the lowest ECE or NLL."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.methods.solvers.nll import blocks, mean_nll

NO_BOUND = 3.0e38
"""The bound that means no clipping: valid in JSON, and almost the largest float32."""


def best_bound(
    clipped: Callable[[float], Tensor], logits: Tensor, labels: Tensor, grid: Iterable[float],
    criterion: Literal["ece", "nll"], bins: int = DEFAULT_BINS,
) -> float:  # fmt: skip
    """The bound of `grid` whose clipped logits have the lowest criterion; `NO_BOUND` where none beats doing nothing.

    Args:
        clipped: the logits (N, K) under a bound.
        logits: as they are (N, K).
        labels: (N,).
        grid: bounds to try, those above zero; of equally good ones the largest is taken.
        criterion: ``ece`` of `bins` equal-width bins, or ``nll``.
        bins: of the ECE.
    """
    measure = mean_nll if criterion == "nll" else partial(binned_ece, bins=bins)
    best, lowest = NO_BOUND, measure(logits, labels)
    for bound in sorted({bound for bound in grid if bound > 0}, reverse=True):
        value = measure(clipped(bound), labels)
        if value < lowest:
            best, lowest = bound, value
    return best


def binned_ece(logits: Tensor, labels: Tensor, bins: int = DEFAULT_BINS) -> float:
    """The ECE, as a fraction, of `bins` equal-width bins (a, b]."""
    gaps = torch.zeros(bins, dtype=torch.float64, device=logits.device)
    for rows in blocks(logits):
        confidence, predicted = logits[rows].double().softmax(dim=1).max(dim=1)
        cells = (confidence * bins).ceil().sub(1).clamp(0, bins - 1).long()
        correct = (predicted == labels[rows]).double()
        gaps.index_add_(0, cells, correct - confidence)
    return float(gaps.abs().sum()) / len(logits)
