"""Newton steps for softmax(w * z + b) with many classes: conjugate gradients, without a matrix of K x K."""

import torch
from torch import Tensor

from calbench.methods.solvers.lbfgs import Solve
from calbench.methods.solvers.nll import blocks

FEW_ROWS = 8
"""The Hessian's diagonal blocks are means over every `FEW_ROWS`-th row."""

PRODUCT_ELEMENTS = 2**23
"""Elements of the rows that the rest of the Hessian is estimated from: they are multiplied with twice per iteration."""

FEWEST_ROWS = 128
"""Rows for the same purpose, at least."""

SHARE = 0.1
"""Weight of the diagonal blocks of many rows next to the Hessian of the few rows, which lacks rare classes."""

ITERATIONS, PRECISION = 25, 0.1
"""Of the conjugate gradients: the most iterations, and the residual relative to the gradient at which they end."""


def newton_solver(logits: Tensor, point: Tensor, size: int) -> Solve:
    """Solve with an estimate of the Hessian of the mean NLL in (w, b), E[J^T (diag p - p p^T) J].

    With S = (p * z, p), the derivative of a row's log-sum-exp in (w, b), the Hessian is a block per class minus the
    mean of S^T S, so that a product with it is two products with S: memory and time grow as K, not as K^2.

    Args:
        logits: (N, K).
        point: w (1,) or (K,), followed by b (K,), float64.
        size: the length of w.
    """
    weight, bias = point[:size].to(logits.dtype), point[size:].to(logits.dtype)
    num_classes = logits.shape[1]
    broad = _diagonal(logits[::FEW_ROWS], weight, bias, variances=True)
    rows = max(FEWEST_ROWS, PRODUCT_ELEMENTS // (size + num_classes))
    sample = logits[:: max(1, len(logits) // rows)]
    narrow = _diagonal(sample, weight, bias, variances=False)
    slopes = _slopes(sample, weight, bias, size)
    precondition = _block_solver(broad, size)

    def product(vector: Tensor) -> Tensor:
        v = vector.to(slopes.dtype)
        low_rank = (slopes.T @ (slopes @ v)).double() / len(sample)
        return _times(narrow, vector, size) - low_rank + SHARE * _times(broad, vector, size)

    return lambda gradient: _conjugate_gradients(product, gradient, precondition)


def _diagonal(logits: Tensor, weight: Tensor, bias: Tensor, *, variances: bool) -> Tensor:
    """The means of q z^2, q z and q (3, K) float64, with q = p (1 - p), or p."""
    sums = torch.zeros(3, logits.shape[1], dtype=torch.float64, device=logits.device)
    for rows in blocks(logits):
        block = logits[rows]
        masses = torch.addcmul(bias, block, weight).softmax(dim=1)
        if variances:
            masses = masses.mul_(1 - masses)
        weighted = masses * block
        sums += torch.stack([(weighted * block).sum(0), weighted.sum(0), masses.sum(0)])
    return sums / len(logits)


def _slopes(logits: Tensor, weight: Tensor, bias: Tensor, size: int) -> Tensor:
    """The derivative of the log-sum-exp of each row in (w, b): (N, size + K)."""
    masses = torch.addcmul(bias, logits, weight).softmax(dim=1)
    weighted = masses * logits
    return torch.cat([weighted if size > 1 else weighted.sum(dim=1, keepdim=True), masses], dim=1)


def _times(diagonal: Tensor, vector: Tensor, size: int) -> Tensor:
    """The blocks per class, times a vector in (w, b)."""
    squares, products, masses = diagonal
    of_weight, of_bias = vector[:size], vector[size:]
    first = squares * of_weight + products * of_bias
    return torch.cat([first if size > 1 else first.sum()[None], products * of_weight + masses * of_bias])


def _block_solver(diagonal: Tensor, size: int) -> Solve:
    """Solve with the blocks per class alone."""
    squares, products, variances = diagonal
    variances = variances + 1e-6 * variances.mean() + 1e-12
    if size == 1:
        scale = (squares - products.square() / variances).clamp_min(0).sum() + 1e-6 * squares.sum() + 1e-12
        return lambda gradient: torch.cat([gradient[:1] / scale, gradient[1:] / variances])
    squares = squares + 1e-6 * squares + 1e-12 * squares.mean() + 1e-300
    determinant = (squares * variances - products.square()).clamp_min(1e-6 * squares * variances)

    def solve(gradient: Tensor) -> Tensor:
        of_weight, of_bias = gradient[:size], gradient[size:]
        first = (variances * of_weight - products * of_bias) / determinant
        return torch.cat([first, (squares * of_bias - products * of_weight) / determinant])

    return solve


def _conjugate_gradients(product: Solve, gradient: Tensor, precondition: Solve) -> Tensor:
    """An approximate solution of H x = gradient for a positive H (Nocedal and Wright 2006, algorithm 5.3)."""
    solution, residual = torch.zeros_like(gradient), gradient
    scaled = precondition(residual)
    direction, size = scaled, float(residual @ scaled)
    goal = PRECISION**2 * size
    for _ in range(ITERATIONS):
        moved = product(direction)
        curvature = float(direction @ moved)
        if not curvature > 0:
            break
        step = size / curvature
        solution, residual = solution + step * direction, residual - step * moved
        scaled = precondition(residual)
        before, size = size, float(residual @ scaled)
        if not size > goal:
            break
        direction = scaled + size / before * direction
    return solution if float(solution @ gradient) > 0 else precondition(gradient)
