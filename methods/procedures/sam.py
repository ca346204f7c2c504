"""Sharpness-aware minimisation."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from calbench.methods.base import register
from calbench.methods.running import Procedure, ProcedureState, Run


@register("sam", label="SAM", paper="foret2021sharpness")
@dataclass
class SharpnessAware(Procedure):
    """w <- w - lr g(w + rho g(w) / |g(w)|), g the gradient of the batch's loss.

    The step of the optimiser is taken with the gradient at the worst point of a ball of radius rho around the weights,
    to first order; |g| is the Euclidean norm over all parameters. Every update costs two passes. Batch norm updates
    its running statistics in the first pass only (the second is not at the weights that are kept). Clipping acts on the
    gradient that is used.

    Foret et al. 2021, arXiv 2010.01412, equation 3 and algorithm 1; rho 0.05 there.
    """

    rho: Annotated[float, Field(gt=0)] = 0.05
    tune_grid = (("rho", (0.02, 0.05, 0.1, 0.2)),)
    passes: ClassVar[int] = 2

    def start(self, run: Run) -> ProcedureState:
        """Nothing is kept from update to update."""
        return _State(self.rho)


class _State(ProcedureState):
    def __init__(self, rho: float) -> None:
        self.rho = rho

    def gradients(self, model: nn.Module, compute: Callable[[], Tensor]) -> Tensor:
        """Gradients at the worst point nearby; the weights are afterwards what they were."""
        loss = compute()
        parameters = [p for p in model.parameters() if p.grad is not None]
        length = torch.stack([cast("Tensor", p.grad).norm() for p in parameters]).norm()
        if not (torch.isfinite(length) and length > 0):
            return loss
        kept = [p.detach().clone() for p in parameters]
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(cast("Tensor", parameter.grad) * (self.rho / length))
                parameter.grad = None
        norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
        rates = [(norm, norm.momentum) for norm in norms]
        counts = [cast("Tensor", norm.num_batches_tracked).clone() for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
        try:
            compute()
        finally:
            for (norm, momentum), count in zip(rates, counts, strict=True):
                norm.momentum = momentum
                cast("Tensor", norm.num_batches_tracked).copy_(count)
            with torch.no_grad():
                for parameter, values in zip(parameters, kept, strict=True):
                    parameter.copy_(values)
        return loss
