"""Evidential deep learning: the network's outputs are the parameters of a Dirichlet distribution."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import Outputs, register
from calbench.methods.losses._functions import as_distributions, full_precision
from calbench.methods.running import LossState, Run, StatefulObjective

MOST = 10.0
"""Logits are clipped to -10..10 before they become parameters, as in the authors' code."""


@register("evidential", label="EDL", paper="sensoy2018evidential")
@dataclass
class Evidential(StatefulObjective):
    """sum_k ((t_k - p_k)^2 + p_k (1 - p_k) / (S + 1)) + w_e KL(Dir(t + (1 - t) alpha) || Dir(1)), S = sum alpha.

    The first part is the expected Brier score under Dir(alpha), whose mean is p = alpha / S; the second removes the
    evidence for other classes. Its weight w_e grows from 0 in the first epoch to ``weight`` after ``annealing`` epochs.
    alpha = exp(z), so that p is softmax(z), which predictions, metrics and calibrators here are made of. The paper has
    alpha = 1 + max(0, z), whose p is another function of z.

    Sensoy, Kaplan and Kandemir 2018, arXiv 1806.01768, equation 5.
    """

    weight: Annotated[float, Field(ge=0)] = 1.0
    annealing: Annotated[int, Field(ge=1)] = 10
    tune_grid = (("weight", (0.1, 0.3, 1.0, 2.0)),)

    def start(self, run: Run) -> LossState:
        """No weight on the divergence yet."""
        return _Annealed(self)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch of the first epoch: logits (N, K); targets (N,) or (N, K)."""
        return evidential_loss(outputs, targets, 0.0)


class _Annealed(LossState):
    def __init__(self, options: Evidential) -> None:
        self.options = options
        self.epochs = 0

    def loss(self, outputs: Outputs, targets: Tensor, samples: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K); targets (N,) or (N, K)."""
        share = min(1.0, self.epochs / self.options.annealing)
        return evidential_loss(outputs, targets, self.options.weight * share)

    def end_epoch(self, epoch: int, calibration: tuple[Tensor, Tensor] | None) -> None:
        """Count."""
        self.epochs = epoch

    def tensors(self) -> dict[str, Tensor]:
        """The number of epochs."""
        return {"epochs": torch.tensor(self.epochs)}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from a saved number of epochs."""
        self.epochs = int(tensors["epochs"])


def evidential_loss(outputs: Outputs, targets: Tensor, weight: float) -> Tensor:
    """The mean loss with a given weight of the divergence.

    Args:
        outputs: logits (N, K).
        targets: labels (N,) or distributions (N, K).
        weight: of the divergence.
    """
    logits = full_precision(outputs.logits)
    p, alpha = logits.softmax(dim=1), logits.clamp(-MOST, MOST).exp()
    t = as_distributions(targets, p)
    error = (t - p).square() + p * (1 - p) / (alpha.sum(dim=1, keepdim=True) + 1)
    loss = error.sum(dim=1).mean()
    return loss + weight * _divergence(t + (1 - t) * alpha).mean() if weight else loss


def _divergence(alpha: Tensor) -> Tensor:
    """KL(Dir(alpha) || Dir(1)) of every row of `alpha` (N, K): (N,)."""
    total = alpha.sum(dim=1)
    ones = torch.lgamma(torch.tensor(float(alpha.shape[1]), dtype=alpha.dtype, device=alpha.device))
    slopes = torch.digamma(alpha) - torch.digamma(total)[:, None]
    return torch.lgamma(total) - ones - torch.lgamma(alpha).sum(dim=1) + ((alpha - 1) * slopes).sum(dim=1)
