"""Scaling and shifting the logits class by class, fitted to the optimum of the (convex) NLL."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from calbench.methods.solvers.lbfgs import Solution, ValueGradient, cholesky_solver, minimise
from calbench.methods.solvers.newton import optimal_temperature
from calbench.methods.solvers.newton_steps import newton_solver
from calbench.methods.solvers.nll import blocks

HESSIAN_ROWS = 20
"""Rows per parameter, at most, that the Hessian is estimated from."""

UNBOUNDED = 10.0
"""A class weight above this multiple of 1/T (T the optimal temperature) indicates separation, not scale."""

STAGES = (6, 25, 50, 125)
"""Numbers of iterations after which the Hessian is recomputed."""

LARGE_STAGES = (1, 2, 3, 4, 6, 10, 40)
"""As `STAGES`, of a fit without a Hessian, where a new estimate of it costs less than a pass over all rows."""

MOST_DENSE = 512
"""Parameters up to which a Hessian is made."""

FEW_ROWS = 8
"""Without a Hessian the temperature from which the fit starts is that of every `FEW_ROWS`-th row."""

ACCEPTED = 2e-5
"""Estimated excess over the minimum, in nats, up to which there is no warning."""

ENOUGH = 2e-6
"""Nats of the mean NLL above its minimum at which a fit without a Hessian ends."""

SMALL = 2**17
"""Elements of the logits up to which the cost of float64 arithmetic is negligible."""


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


def fit_class_scaling(
    logits: Tensor, labels: Tensor, weights: Tensor | None = None, *, shared_scale: bool
) -> ClassScaling:
    """The weights w and biases b that minimise the NLL of softmax(w * z + b), from the optimal temperature on.

    Args:
        logits: checked logits (N, K).
        labels: labels (N,).
        weights: of the rows (N,) with a mean of one, or None.
        shared_scale: one w for all classes, instead of one each.
    """
    if logits.numel() <= SMALL:
        logits = logits.double()
    num_classes = logits.shape[1]
    size = 1 if shared_scale else num_classes
    start = torch.zeros(size + num_classes, dtype=torch.float64, device=logits.device)
    dense = len(start) <= MOST_DENSE
    few = slice(None, None, 1 if dense or logits.numel() <= SMALL else FEW_ROWS)
    few_weights = None if weights is None else weights[few]
    sharpness = 1 / optimal_temperature(logits[few], labels[few], few_weights, stacklevel=5)
    start[:size] = sharpness
    function = _objective(logits, labels, weights, size)
    if dense:
        step = max(1, len(logits) // (HESSIAN_ROWS * len(start)))
        solution = _minimise(function, logits[::step], start, size)
    else:
        solution = _minimise_large(function, logits, start, size)
    weight, bias = solution.point[:size], solution.point[size:]
    separates = float(weight.max()) > UNBOUNDED * sharpness
    return ClassScaling(weight, bias - bias.mean(), solution.converged, separates)


def _objective(logits: Tensor, labels: Tensor, weights: Tensor | None, size: int) -> ValueGradient:
    own = _own_statistics(logits, labels, weights, size)

    def function(point: Tensor) -> tuple[float, Tensor]:
        return _value_and_gradient(logits, own, weights, point, size)

    return function


def _minimise(function: ValueGradient, rows: Tensor, start: Tensor, size: int) -> Solution:
    """Minimise in stages; each stage uses the Hessian at its starting point as preconditioner."""
    for iterations in STAGES:
        step = cholesky_solver(_hessian(rows, start, size))
        solution = minimise(function, start, step, max_iterations=iterations)
        if solution.converged:
            break
        start = solution.point
    return solution


def _minimise_large(function: ValueGradient, logits: Tensor, start: Tensor, size: int) -> Solution:
    """As `_minimise`, with Newton steps by conjugate gradients in the place of a Hessian."""
    evaluated = None
    for iterations in LARGE_STAGES:
        step = newton_solver(logits, start, size)
        solution = minimise(function, start, step, tolerance=ENOUGH, max_iterations=iterations, evaluated=evaluated)
        if solution.converged:
            break
        start, evaluated = solution.point, (solution.value, solution.gradient)
    return replace(solution, converged=solution.converged or solution.excess <= ACCEPTED)


def _own_statistics(logits: Tensor, labels: Tensor, weights: Tensor | None, size: int) -> Tensor:
    """What the NLL needs of the labels: the sum of z_y (per class unless shared), then the count of each class."""
    num_classes = logits.shape[1]
    counts = torch.ones(len(labels), dtype=torch.float64, device=logits.device) if weights is None else weights
    own = counts * logits.gather(1, labels[:, None]).squeeze(1).double()
    sums = torch.zeros(num_classes, dtype=torch.float64, device=logits.device).index_add_(0, labels, own)
    classes = torch.bincount(labels, counts, minlength=num_classes)
    return torch.cat([sums.sum()[None] if size == 1 else sums, classes])


def _value_and_gradient(
    logits: Tensor, own: Tensor, weights: Tensor | None, point: Tensor, size: int
) -> tuple[float, Tensor]:
    """The mean NLL and its gradient in (w, b)."""
    weight, bias = point[:size].to(logits.dtype), point[size:].to(logits.dtype)
    value = -(own * torch.cat([weight, bias]).double()).sum()
    slope_w, slope_b = -own[:size], -own[size:]
    for rows in blocks(logits):
        scores = torch.addcmul(bias, logits[rows], weight)
        peak = scores.amax(dim=1, keepdim=True)
        mass = scores.sub_(peak).exp_().sum(dim=1, keepdim=True)
        totals = (peak + mass.log()).double().squeeze(1)
        value += totals.sum() if weights is None else totals @ weights[rows]
        share = mass.reciprocal() if weights is None else (weights[rows, None] / mass).to(scores.dtype)
        slope_b += (share.T @ scores).squeeze(0)
        weighted = (share.T @ scores.mul_(logits[rows])).squeeze(0).double()
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
