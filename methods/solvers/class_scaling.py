"""Maps that scale and shift the logits class by class, fitted to the optimum of the (convex) NLL."""

from dataclasses import dataclass

import torch
from torch import Tensor

from calbench.methods.solvers.lbfgs import Solution, ValueGradient, cholesky_solver, minimise
from calbench.methods.solvers.newton import optimal_temperature
from calbench.methods.solvers.nll import blocks

HESSIAN_ROWS = 20
"""Rows per parameter, at most, that the Hessian is estimated from."""

UNBOUNDED = 10.0
"""Times the inverse of the optimal temperature from which on a class's weight tells of separation, not of scale."""

STAGES = (6, 25, 50, 125)
"""Iterations between which the Hessian is taken anew."""

SMALL = 2**17
"""Elements of the logits up to which arithmetic in float64 costs nothing that anybody would notice."""


@dataclass
class ClassScaling:
    """What `fit_class_scaling` found.

    Attributes:
        weight: w (1,) or (K,), float64.
        bias: b (K,) with mean zero, float64.
        converged: whether the optimum was reached.
        separates: whether a weight is `UNBOUNDED` times the one that fits all classes alike: then the calibration split
            separates a class from the others, or nearly so, and the NLL falls as long as its weight grows.
    """

    weight: Tensor
    bias: Tensor
    converged: bool
    separates: bool


def fit_class_scaling(logits: Tensor, labels: Tensor, *, shared_scale: bool) -> ClassScaling:
    """The weights w and biases b that minimise the NLL of softmax(w * z + b), from the optimal temperature on.

    Args:
        logits: checked logits (N, K).
        labels: labels (N,).
        shared_scale: one w for all classes, instead of one each.
    """
    if logits.numel() <= SMALL:
        logits = logits.double()
    num_classes = logits.shape[1]
    size = 1 if shared_scale else num_classes
    start = torch.zeros(size + num_classes, dtype=torch.float64, device=logits.device)
    start[:size] = 1 / optimal_temperature(logits, labels)
    own = _own_statistics(logits, labels, shared_scale)

    def function(point: Tensor) -> tuple[float, Tensor]:
        return _value_and_gradient(logits, own, point, size)

    step = max(1, len(logits) // (HESSIAN_ROWS * len(start)))
    solution = _minimise(function, logits[::step], start, size)
    weight, bias = solution.point[:size], solution.point[size:]
    separates = float(weight.max()) > UNBOUNDED * float(start[0])
    return ClassScaling(weight, bias - bias.mean(), solution.converged, separates)


def _minimise(function: ValueGradient, rows: Tensor, start: Tensor, size: int) -> Solution:
    """A few iterations with the Hessian of the start, the rest with those of where they led."""
    for iterations in STAGES:
        step = cholesky_solver(_hessian(rows, start, size))
        solution = minimise(function, start, step, max_iterations=iterations)
        if solution.converged:
            break
        start = solution.point
    return solution


def _own_statistics(logits: Tensor, labels: Tensor, shared_scale: bool) -> Tensor:
    """What the NLL needs of the labels: the sum of z_y (per class unless shared), then the count of each class."""
    num_classes = logits.shape[1]
    own = logits.gather(1, labels[:, None]).squeeze(1).double()
    sums = torch.zeros(num_classes, dtype=torch.float64, device=logits.device).index_add_(0, labels, own)
    return torch.cat([sums.sum()[None] if shared_scale else sums, torch.bincount(labels, minlength=num_classes)])


def _value_and_gradient(logits: Tensor, own: Tensor, point: Tensor, size: int) -> tuple[float, Tensor]:
    """The mean NLL and its gradient in (w, b)."""
    weight, bias = point[:size].to(logits.dtype), point[size:].to(logits.dtype)
    value = -(own * torch.cat([weight, bias]).double()).sum()
    slope_w, slope_b = -own[:size], -own[size:]
    for rows in blocks(logits):
        scores = torch.addcmul(bias, logits[rows], weight)
        peak = scores.amax(dim=1, keepdim=True)
        mass = scores.sub_(peak).exp_().sum(dim=1, keepdim=True)
        value += (peak + mass.log()).double().sum()
        probabilities = scores.div_(mass)
        slope_b += probabilities.sum(dim=0)
        weighted = probabilities.mul_(logits[rows]).sum(dim=0).double()
        slope_w += weighted if size > 1 else weighted.sum()
    return float(value) / len(logits), torch.cat([slope_w, slope_b]) / len(logits)


def _hessian(logits: Tensor, point: Tensor, size: int) -> Tensor:
    """The Hessian of the mean NLL in (w, b), in blocks: E[J^T (diag p - p p^T) J]."""
    num_classes = logits.shape[1]
    weight, bias = point[:size].to(logits.dtype), point[size:].to(logits.dtype)
    outer = torch.zeros(2 * num_classes, 2 * num_classes, dtype=torch.float64, device=logits.device)
    diagonal = torch.zeros(3, num_classes, dtype=torch.float64, device=logits.device)
    for rows in blocks(logits):
        block = logits[rows]
        probabilities = torch.addcmul(bias, block, weight).softmax(dim=1)
        weighted = probabilities * block
        stacked = torch.cat([weighted, probabilities], dim=1)
        outer -= stacked.T @ stacked
        diagonal += torch.stack([(weighted * block).sum(0), weighted.sum(0), probabilities.sum(0)])
    k = torch.arange(num_classes, device=logits.device)
    outer[k, k] += diagonal[0]
    outer[k, k + num_classes] += diagonal[1]
    outer[k + num_classes, k] += diagonal[1]
    outer[k + num_classes, k + num_classes] += diagonal[2]
    outer /= len(logits)
    if size == num_classes:
        return outer
    pool = torch.zeros(1 + num_classes, 2 * num_classes, dtype=torch.float64, device=logits.device)
    pool[0, :num_classes] = 1
    pool[k + 1, k + num_classes] = 1
    return pool @ outer @ pool.T
