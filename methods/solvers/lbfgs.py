"""L-BFGS for smooth convex functions, started from a user's preconditioner; on whatever device the parameters are."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

ValueGradient = Callable[[Tensor], tuple[float, Tensor]]
Solve = Callable[[Tensor], Tensor]
MEMORY = 12
ROUNDING = 1e-7
"""Below this expected excess over the minimum, a step without gain means the limit of float32 precision is reached."""


@dataclass
class Solution:
    """Where the minimiser stopped.

    Attributes:
        point: the parameters.
        value: of the function there.
        converged: whether the tolerance was met.
        excess: the expected excess over the minimum, half of g . H^-1 g, as the last direction estimates it.
        gradient: of the function there.
    """

    point: Tensor
    value: float
    converged: bool
    excess: float
    gradient: Tensor


def minimise(
    function: ValueGradient,
    start: Tensor,
    precondition: Solve,
    *,
    tolerance: float = 1e-10,
    max_iterations: int = 200,
    enough: float = -math.inf,
    evaluated: tuple[float, Tensor] | None = None,
) -> Solution:
    """Minimise a convex `function` from `start`.

    Args:
        function: gives value and gradient (float64, the shape of `start`) at a point.
        start: float64 parameters of any shape.
        precondition: an approximation of the inverse Hessian at the start, applied to a gradient.
        tolerance: half of g . H^-1 g, the expected excess over the minimum, at which to stop.
        max_iterations: iterations after which to give up.
        enough: a value below which to give up, since the minimum lies at infinity.
        evaluated: value and gradient at `start`, where they are known.
    """
    point = start
    value, gradient = evaluated or function(point)
    pairs: deque[tuple[Tensor, Tensor]] = deque(maxlen=MEMORY)
    step = 1.0
    for _ in range(max_iterations):
        direction = -_two_loops(gradient, pairs, precondition)
        slope = float((direction * gradient).sum())
        if -slope / 2 <= tolerance:
            return Solution(point, value, True, -slope / 2, gradient)
        if value < enough:
            return Solution(point, value, False, -slope / 2, gradient)
        # The fit ends with unit steps; where the curvature grows along the path, the last step length is a good start.
        found = _line_search(function, point, value, slope, direction, min(1.0, 2 * step))
        if found is None:
            return Solution(point, value, -slope / 2 <= ROUNDING, -slope / 2, gradient)
        step, new_value, new_gradient = found
        if new_value >= value and -slope / 2 <= ROUNDING:
            return Solution(point, value, True, -slope / 2, gradient)
        value = new_value
        moved, changed = step * direction, new_gradient - gradient
        if float((moved * changed).sum()) > 0:
            pairs.append((moved, changed))
        point, gradient = point + moved, new_gradient
    excess = float((_two_loops(gradient, pairs, precondition) * gradient).sum()) / 2
    return Solution(point, value, excess <= tolerance, excess, gradient)


def _two_loops(gradient: Tensor, pairs: deque[tuple[Tensor, Tensor]], precondition: Solve) -> Tensor:
    """The quasi-Newton direction, uphill (Nocedal and Wright 2006, algorithm 7.4)."""
    direction, weights = gradient, []
    for moved, changed in reversed(pairs):
        weight = (moved * direction).sum() / (moved * changed).sum()
        direction = direction - weight * changed
        weights.append(weight)
    direction = precondition(direction)
    for (moved, changed), weight in zip(pairs, reversed(weights), strict=True):
        direction = direction + (weight - (changed * direction).sum() / (moved * changed).sum()) * moved
    return direction


def _line_search(
    function: ValueGradient, point: Tensor, value: float, slope: float, direction: Tensor, step: float
) -> tuple[float, float, Tensor] | None:
    """A step, tried from `step` on, that meets the approximate Wolfe conditions (Hager and Zhang 2005), or None.

    They ask for slopes, not for a decrease of the value, which rounding hides near the optimum.
    """
    low, low_slope, high, high_slope = 0.0, slope, math.inf, math.inf
    slack = 1e-9 * (1 + abs(value))
    best = None
    for _ in range(25):
        new_value, gradient = function(point + step * direction)
        new_slope = float((gradient * direction).sum())
        if not new_value <= value + slack or new_slope > 0.8 * -slope:
            high, high_slope = step, new_slope
        elif new_slope < 0.9 * slope:
            low, low_slope, best = step, new_slope, (step, new_value, gradient)
        else:
            return step, new_value, gradient
        step = 2 * step if high == math.inf else low + (high - low) * _share(low_slope, high_slope)
    return best


def _share(low: float, high: float) -> float:
    """Where between two steps the slope, `low` at one and `high` at the other, would be zero were it linear."""
    share = low / (low - high) if high > 0 else 0.5
    return min(max(share, 0.1), 0.9) if math.isfinite(share) else 0.5


def cholesky_solver(hessian: Tensor, ridge: float = 1e-6) -> Solve:
    """Solve with a positive semi-definite `hessian` (P, P), scaled to a unit diagonal and ridged."""
    hessian = hessian.double()
    diagonal = hessian.diagonal()
    scale = diagonal.clamp_min(max(1e-12 * float(diagonal.max()), 1e-300)).rsqrt()
    scaled = scale[:, None] * hessian * scale
    scaled.diagonal().add_(ridge)
    factor, info = torch.linalg.cholesky_ex(scaled)
    if int(info):
        return lambda gradient: gradient * (scale * scale).view_as(gradient)
    return lambda gradient: (
        scale * torch.cholesky_solve((scale * gradient.flatten())[:, None], factor).squeeze(1)
    ).view_as(gradient)
