"""The temperature of the grid 0.1, 0.2 ... 10.0 with the lowest ECE, and the ECE of the whole grid at once."""

import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.methods.solvers.newton import optimal_temperature, power_of_ten
from calbench.methods.solvers.nll import blocks

GRID_SIZE = 100


def lowest_ece_temperature(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, bins: int = DEFAULT_BINS
) -> float:
    """The T of 0.1, 0.2 ... 10.0 with the lowest ECE (`bins` equal-width bins), the smallest on ties.

    The published grid is made for logits whose temperature is near 1. Where the T of the least NLL lies outside of it,
    the grid is taken in units of that T's power of ten, and a `ConvergenceWarning` says so; another one says where the
    best point is the first or the last, for then the best T may lie beyond.

    Mukhoti et al. 2020, arXiv 2002.09437, section 4.
    """
    likely = optimal_temperature(logits, labels, weights, stacklevel=5)
    unit = power_of_ten(likely)
    if unit != 1:
        message = f"the T of the least NLL, {likely:.4g}, is outside the grid 0.1 ... 10: the grid is multiplied by"
        warnings.warn(f"criterion=ece: {message} {unit:g}", ConvergenceWarning, stacklevel=4)
        logits = logits / unit
    best = int(ece_by_temperature(logits, labels, weights, bins).argmin()) + 1
    temperature = best * unit / 10
    if best in (1, GRID_SIZE):
        side = "first" if best == 1 else "last"
        message = f"criterion=ece: T = {temperature:g} is the {side} point of the grid; the best T may lie beyond"
        warnings.warn(message, ConvergenceWarning, stacklevel=4)
    return temperature


def ece_by_temperature(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, bins: int = DEFAULT_BINS
) -> Tensor:
    """The ECE, as a fraction, of softmax(z / T) for T = 0.1, 0.2 ... 10.0: (100,) float64.

    Equal-width bins (a, b], with weights of the rows (N,) of mean one, or none. Only the confidence depends on T, never
    the prediction.
    """
    device = logits.device
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64, device=device)[1:-1].to(logits.dtype)
    cell = torch.arange(GRID_SIZE, device=device)[:, None] * bins
    gaps = torch.zeros(GRID_SIZE * bins, dtype=torch.float64, device=device)
    for rows in blocks(logits):
        block = logits[rows]
        peak, predicted = block.max(dim=1, keepdim=True)
        correct = (predicted.squeeze(1) == labels[rows]).to(logits.dtype)
        confidence = _confidences(block - peak)
        cells = torch.bucketize(confidence, edges) + cell
        residuals = (correct - confidence).double()
        if weights is not None:
            residuals *= weights[rows]
        gaps += torch.bincount(cells.flatten(), residuals.flatten(), minlength=len(gaps))
    return gaps.view(GRID_SIZE, bins).abs().sum(dim=1) / len(logits)


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
