"""A full matrix on the logits or log-probabilities, with ODIR, fitted to the optimum of the (convex) objective."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from calbench.benchmark.core.folds import stratified_folds
from calbench.methods.solvers.lbfgs import Solution, Solve, minimise
from calbench.methods.solvers.nll import blocks

Inputs = Callable[[Tensor], Tensor]
STAGES = (10, 20, 40, 80, 150)
"""Numbers of iterations after which the preconditioner is rebuilt; only the first three beyond `MANY_CLASSES`."""

TOLERANCE = 1e-9
"""Nats of the objective above its minimum at which to stop."""

ACCEPTED = 1e-6
"""Estimated excess of the objective over its minimum, in nats, up to which there is no warning; far below any noise."""

SEPARATED = 1e-2
"""An NLL, in nats, below which the calibration split is separated: the optimum is at infinity, and the fit ends."""

FEW_ROWS, ROWS = 4, 100
"""Rows per column of the matrix that the preconditioner is made from, with a penalty and without one: the blocks of few
rows are far from those of all, and the fit then takes ten times as many passes."""

FEWEST_ROWS = 10
"""Rows per column below which a fit without a penalty has one block for all rows of the matrix."""

MANY_CLASSES = 128
"""Classes beyond which arithmetic in float64 and a Hessian block for every row of the matrix would take too long."""

STRENGTHS = tuple(10.0**power for power in range(5, -4, -1))
"""Strengths of ODIR to choose from."""

RISE = 1e-3
"""Nats on held-out rows above the lowest so far that end the search. The fits of the search stop at an excess of 1e-4:
neighbouring strong penalties often give the same point, and a search that ends there chooses the strongest."""


def fit_matrix(
    logits: Tensor,
    labels: Tensor,
    inputs: Inputs,
    start: Tensor,
    *,
    off_diagonal: float,
    intercept: float,
    diagonal: float = 0.0,
    centre: float = 0.0,
    tolerance: float = TOLERANCE,
    stages: tuple[int, ...] | None = None,
) -> Solution:
    """Minimise the NLL of softmax(W x + b) plus ODIR over [W | b].

    ODIR is off_diagonal / (K (K - 1)) sum_{i != j} W_ij^2 + intercept / K sum b^2 (Kull et al. 2019, section 3).

    Args:
        logits: checked logits (N, K).
        labels: labels (N,).
        inputs: gives x (n, K) of a block of logits.
        start: [W | b] (K, K + 1) in float64 to start from.
        off_diagonal: strength of the penalty on W outside its diagonal.
        intercept: strength of the penalty on b.
        diagonal: strength of diagonal / 2 sum_k (W_kk - centre)^2, which bounds W where a class is separable.
        centre: of that penalty.
        tolerance: nats of the objective above its minimum at which to stop.
        stages: numbers of iterations after which the preconditioner is rebuilt; None for `STAGES`.

    Returns:
        The solution, whose point is [W | b] (K, K + 1) in float64.
    """
    num_classes = logits.shape[1]
    penalty = torch.full_like(start, 2 * off_diagonal / (num_classes * (num_classes - 1)))
    penalty.diagonal().fill_(diagonal)
    centres = torch.zeros_like(start)
    centres.diagonal().fill_(centre)
    penalty[:, -1] = 2 * intercept / num_classes

    def function(point: Tensor) -> tuple[float, Tensor]:
        return _value_and_gradient(logits, labels, inputs, penalty, point, centres)

    point = start
    for iterations in stages or (STAGES if num_classes <= MANY_CLASSES else STAGES[:3]):
        step = _precondition(logits, inputs, penalty, point)
        solution = minimise(function, point, step, tolerance=tolerance, max_iterations=iterations, enough=SEPARATED)
        if solution.converged or solution.value < SEPARATED:
            break
        point = solution.point
    return replace(solution, converged=solution.value >= SEPARATED and solution.excess <= ACCEPTED)


def scaled_identity(logits: Tensor, scale: float) -> Tensor:
    """[W | b] with W = `scale` times the identity and b = 0, (K, K + 1) in float64 on the device of `logits`."""
    point = torch.zeros(logits.shape[1], logits.shape[1] + 1, dtype=torch.float64, device=logits.device)
    point.diagonal().fill_(scale)
    return point


def choose_strength(
    logits: Tensor, labels: Tensor, inputs: Inputs, start: Tensor, *, diagonal: float = 0.0, centre: float = 0.0
) -> float:
    """The strength of ODIR, both parts alike, with the lowest NLL on a fifth of each class after a fit on the others.

    From the strongest on, each fit starting where the last one ended, until the NLL rises by more than `RISE`.
    """
    held_out = stratified_folds(labels, 5) == 0
    fit_logits, fit_labels = logits[~held_out], labels[~held_out]
    nothing = torch.zeros_like(start)
    stages = (10, 20) if len(start) <= MANY_CLASSES else (8,)
    best, chosen = float("inf"), STRENGTHS[0]
    for strength in STRENGTHS:
        penalties = {"off_diagonal": strength, "intercept": strength, "diagonal": diagonal, "centre": centre}
        solution = fit_matrix(fit_logits, fit_labels, inputs, start, **penalties, tolerance=1e-4, stages=stages)
        start = solution.point
        nll, _ = _value_and_gradient(logits[held_out], labels[held_out], inputs, nothing, start)
        if nll < best:
            best, chosen = nll, strength
        elif nll > best + RISE:
            break
    return chosen


def _value_and_gradient(
    logits: Tensor, labels: Tensor, inputs: Inputs, penalty: Tensor, point: Tensor, centre: Tensor | float = 0.0
) -> tuple[float, Tensor]:
    precision = torch.float64 if len(point) <= MANY_CLASSES else logits.dtype
    weight, bias = point[:, :-1].T.to(precision), point[:, -1].to(precision)
    value = torch.zeros((), dtype=torch.float64, device=logits.device)
    gradient = torch.zeros_like(point)
    for rows in blocks(logits):
        seen = inputs(logits[rows]).to(precision)
        scores = torch.addmm(bias, seen, weight)
        peak = scores.amax(dim=1)
        value += (peak - scores.gather(1, labels[rows, None]).squeeze(1)).double().sum()
        residual = scores.sub_(peak[:, None]).exp_()
        mass = residual.sum(dim=1)
        value += mass.log().double().sum()
        residual /= mass[:, None]
        residual[torch.arange(len(seen), device=seen.device), labels[rows]] -= 1
        gradient[:, :-1] += residual.T @ seen
        gradient[:, -1] += residual.sum(dim=0)
    pulled = penalty * (point - centre)
    total = float(value) / len(logits) + float((pulled * (point - centre)).sum()) / 2
    return total, gradient / len(logits) + pulled


def _precondition(logits: Tensor, inputs: Inputs, penalty: Tensor, point: Tensor) -> Solve:
    """Solve with the Hessian's blocks for each row of [W | b], E[p_k (1 - p_k) x x^T] + penalty, of a subsample.

    The columns of x are taken in units of their root mean square, so that a masked class, whose column is huge and the
    same in every row, leaves the others' ridge as it is.
    """
    num_classes, width = point.shape
    penalised = bool(penalty.any())
    each = num_classes <= MANY_CLASSES and (penalised or len(logits) >= FEWEST_ROWS * width)
    most = (ROWS if each and not penalised else FEW_ROWS) * width
    rows = logits[:: max(1, len(logits) // most)]
    seen = functional.pad(inputs(rows), (0, 1), value=1.0).double()
    probabilities = (seen @ point.T).softmax(dim=1)
    variances = probabilities * (1 - probabilities)
    if not each:
        return _shared_block(seen, variances.mean(dim=0), penalty)
    unit = _column_units(seen)
    seen = seen / unit
    plain = seen.float()  # in which the products take half the time: a preconditioner may be approximate
    factors = []
    for k in range(num_classes):
        block = ((plain * variances[:, k, None].float()).T @ plain).double() / len(seen)
        block.diagonal().add_(penalty[k] / unit**2 + 1e-6 * block.diagonal().mean() + 1e-12)
        factors.append(torch.linalg.cholesky_ex(block).L)
    factor = torch.stack(factors)

    def solve(gradient: Tensor) -> Tensor:
        return torch.cholesky_solve((gradient / unit)[:, :, None], factor).squeeze(2) / unit

    return solve


def _shared_block(seen: Tensor, variances: Tensor, penalty: Tensor) -> Solve:
    """As `_precondition`, with blocks E[p_k (1 - p_k)] E[x x^T] + the mean penalty: one eigenbasis for all rows."""
    unit = _column_units(seen)
    seen = seen / unit
    values, vectors = torch.linalg.eigh(seen.T @ seen / len(seen))
    curvature = variances[:, None] * values.clamp_min(0)
    divisor = curvature + (penalty / unit**2).mean() + 1e-6 * curvature.mean(dim=1, keepdim=True) + 1e-12

    def solve(gradient: Tensor) -> Tensor:
        return ((gradient / unit) @ vectors / divisor) @ vectors.T / unit

    return solve


def _column_units(seen: Tensor) -> Tensor:
    """The root mean square of columns far larger than is usual (width,), 1 for all others."""
    sizes = seen.square().mean(dim=0).sqrt()
    usual = sizes.median().clamp_min(torch.finfo(torch.float64).tiny)
    return torch.where(sizes > 100 * usual, sizes / usual, 1.0)
