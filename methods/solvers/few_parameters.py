"""Minimising a smooth loss over few parameters: L-BFGS of SciPy, gradients of torch, rows in blocks."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from calbench.methods.solvers.nll import blocks

RowLoss = Callable[[Tensor, slice], Tensor]
"""From parameters (P,) float64 and a slice of rows to the loss of each of them (n,), or to their sum."""


def minimise_rows(
    loss: RowLoss, start: Tensor, logits: Tensor, *, penalty: Callable[[Tensor], Tensor] | None = None, steps: int = 200
) -> Tensor:
    """The parameters that minimise the mean of `loss` over the rows of `logits`, plus `penalty`, from `start` on.

    Args:
        loss: of the parameters and a slice of rows.
        start: parameters (P,) float64; the result is never worse than these.
        logits: (N, K), whose shape and device decide the blocks.
        penalty: a term of the parameters only.
        steps: iterations of L-BFGS at most.

    Returns:
        Parameters (P,) float64 on the device of `logits`.
    """
    device = logits.device

    def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
        point = torch.tensor(values, dtype=torch.float64, device=device, requires_grad=True)
        total = 0.0
        with torch.enable_grad():
            for rows in blocks(logits):
                part = loss(point, rows).double().sum() / len(logits)
                part.backward()
                total += float(part.detach())
            if penalty is not None:
                extra = penalty(point)
                extra.backward()
                total += float(extra.detach())
        gradient = np.zeros_like(values) if point.grad is None else point.grad.cpu().numpy()
        if not np.isfinite(total) or not np.isfinite(gradient).all():
            return 1e30, np.zeros_like(values)
        return total, gradient

    first = start.double().cpu().numpy()
    options = {"maxiter": steps, "ftol": 1e-12, "gtol": 1e-8}
    found = minimize(objective, first, jac=True, method="L-BFGS-B", options=cast("Any", options))
    best = found.x if found.fun <= objective(first)[0] else first
    return torch.tensor(best, dtype=torch.float64, device=device)
