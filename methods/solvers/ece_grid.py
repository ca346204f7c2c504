"""The temperature of the grid 0.1, 0.2 ... 10.0 with the lowest ECE, and the ECE of the whole grid at once."""

import torch
from torch import Tensor

from calbench.methods.solvers.nll import blocks

GRID_SIZE = 100
NUM_BINS = 15


def lowest_ece_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T of 0.1, 0.2 ... 10.0 with the lowest ECE (15 equal-width bins), the smallest on ties.

    Mukhoti et al. 2020, arXiv 2002.09437, section 4.
    """
    return (int(ece_by_temperature(logits, labels).argmin()) + 1) / 10


def ece_by_temperature(logits: Tensor, labels: Tensor) -> Tensor:
    """The ECE, as a fraction, of softmax(z / T) for T = 0.1, 0.2 ... 10.0: (100,) float64.

    Equal-width bins (a, b]. Only the confidence depends on T, never the prediction.
    """
    device = logits.device
    edges = torch.linspace(0, 1, NUM_BINS + 1, dtype=torch.float64, device=device)[1:-1].to(logits.dtype)
    cell = torch.arange(GRID_SIZE, device=device)[:, None] * NUM_BINS
    gaps = torch.zeros(GRID_SIZE * NUM_BINS, dtype=torch.float64, device=device)
    for rows in blocks(logits):
        block = logits[rows]
        peak, predicted = block.max(dim=1, keepdim=True)
        correct = (predicted.squeeze(1) == labels[rows]).to(logits.dtype)
        confidence = _confidences(block - peak)
        bins = torch.bucketize(confidence, edges) + cell
        gaps += torch.bincount(bins.flatten(), (correct - confidence).flatten().double(), minlength=len(gaps))
    return gaps.view(GRID_SIZE, NUM_BINS).abs().sum(dim=1) / len(logits)


def _confidences(shifted: Tensor) -> Tensor:
    """The largest probability of every row at every T of the grid (100, N), from logits minus their row's largest.

    exp(z / T) at T is the square of exp(z / 2T), so half of the exponentials are products.
    """
    confidence = shifted.new_empty(GRID_SIZE, len(shifted))
    powers = torch.empty_like(shifted)
    for start in range(GRID_SIZE // 2 + 1, GRID_SIZE + 1):
        torch.mul(shifted, 10 / start, out=powers).exp_()
        tenths = start
        while True:
            torch.sum(powers, dim=1, out=confidence[tenths - 1])
            if tenths % 2:
                break
            tenths //= 2
            powers.mul_(powers)
    return confidence.reciprocal_()
