"""The temperature of the least NLL, reached by Newton's method."""

import math
import warnings

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from calbench.methods.solvers.nll import slope_and_curvature, spread

BOUND = 100.0
"""The temperature stays within a factor of 100 of the logits' own spread: beyond, all mass is on one class or even."""

SUBSAMPLE_ELEMENTS = 100_000
"""Below twice as many elements a subsample saves nothing."""


def optimal_temperature(logits: Tensor, labels: Tensor) -> float:
    """The T > 0 that minimises the mean NLL of softmax(z / T), for checked logits (N, K) and labels (N,).

    A subsample of rows finds the neighbourhood; two or three passes over all rows finish.
    """
    step = max(1, min(10, logits.numel() // SUBSAMPLE_ELEMENTS))
    few, few_labels = logits[::step], labels[::step]
    scale = spread(few)
    if scale < torch.finfo(logits.dtype).tiny * BOUND:
        if step > 1 and (scale := spread(logits)) > 0:
            return _newton(logits, labels, scale, 1 / scale)
        warnings.warn("every row of logits is constant: any temperature fits, T = 1", ConvergenceWarning, stacklevel=4)
        return 1.0
    beta = min(max(1.0, 0.3 / scale), 3 / scale)
    if step > 1:
        beta = 1 / _newton(few, few_labels, scale, beta, quiet=True)
    return _newton(logits, labels, scale, beta)


def _newton(logits: Tensor, labels: Tensor, scale: float, beta: float, quiet: bool = False) -> float:
    """Newton's method in log beta, kept inside a shrinking bracket; quadratic, so it stops one step early."""
    low, high = 1 / (BOUND * scale), BOUND / scale
    for _ in range(60):
        slope, curvature = slope_and_curvature(logits, labels, beta)
        sharper = slope < 0 or (slope == 0 and curvature == 0)  # all mass on the labels, down to the last bit
        low, high = (beta, high) if sharper else (low, beta)
        second = beta * (curvature * beta + slope)
        step = -beta * slope / second if second > 0 else (1.0 if sharper else -1.0)
        if (
            sharper and beta * (curvature * beta - slope) < 1e-10
        ):  # the tail of separable data, which Newton would walk down in small steps
            step, low = 2.0, high
        target = beta * math.exp(max(-2.0, min(2.0, step)))
        if not low <= target <= high:
            target = math.sqrt(low * high)
        change, beta = abs(math.log(target / beta)), target
        if change < 1e-3:
            break
    if not quiet and not 1.01 / (BOUND * scale) < beta < BOUND / (1.01 * scale):
        cause = (
            "separates the calibration split"
            if beta * scale > 1
            else "ranks the calibration split no better than chance"
        )
        warnings.warn(f"the model {cause}: T is bounded at {1 / beta:.4g}", ConvergenceWarning, stacklevel=5)
    return 1 / beta
