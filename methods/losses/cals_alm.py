"""Class-adaptive label smoothing by an augmented Lagrangian."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import Outputs, register
from calbench.methods.losses._functions import cross_entropy_of, full_precision
from calbench.methods.running import LossState, Run, StatefulObjective

LEAST, MOST = 1e-6, 1e6
"""Bounds of the multipliers."""

EVERY, GROWTH, SHRINK = 10, 1.2, 0.9
"""Epochs between updates of rho, the factor that it grows by, and the share to which a constraint has to shrink."""


@register("cals-alm", label="CALS-ALM", paper="liu2023cals")
@dataclass
class ClassAdaptiveSmoothing(StatefulObjective):
    """-log p_y + 1/K sum_k P(h_k, l_k, r_k) with h_k = (max_j z_j - z_k) / margin - 1, a multiplier l_k per class.

    P(h, l, r) = (max(0, l + r h)^2 - l^2) / (2 r): the penalty of Powell, Hestenes and Rockafellar for h <= 0. After
    every epoch l_k is the mean of P'(h_k) = max(0, l_k + r_k h_k) over the calibration split, within 1e-6..1e6. Every
    10 epochs r_k grows by 1.2, up to ``most``, where the mean h_k there did not shrink to 0.9 of the part of the one
    before that was above 0. At the start l = 1e-6 and r = 1.

    Liu et al. 2023, arXiv 2211.15088, in the form and with the settings of the authors' code (penalty ``phr``, margin
    10, the mean over samples and classes). The calibration split takes part in training; it needs a validation set.
    """

    reads_calibration: ClassVar[bool] = True
    margin: Annotated[float, Field(gt=0)] = 10.0
    most: Annotated[float, Field(ge=1)] = 10.0
    tune_grid = (("margin", (5.0, 8.0, 10.0, 15.0)),)

    def start(self, run: Run) -> LossState:
        """Multipliers 1e-6, rho 1."""
        return _Multipliers(self, run.num_classes)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch of the first epoch: logits (N, K); targets (N,) or (N, K)."""
        state = _Multipliers(self, outputs.logits.shape[1])
        return state.loss(outputs, targets, torch.empty(0))


class _Multipliers(LossState):
    def __init__(self, options: ClassAdaptiveSmoothing, num_classes: int) -> None:
        self.options = options
        self.multipliers = torch.full((num_classes,), LEAST, dtype=torch.float64)
        self.rho = torch.ones(num_classes, dtype=torch.float64)
        self.before = torch.full((num_classes,), torch.inf, dtype=torch.float64)

    def loss(self, outputs: Outputs, targets: Tensor, samples: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K); targets (N,) or (N, K)."""
        logits = full_precision(outputs.logits)
        multipliers, rho = self.multipliers.to(logits), self.rho.to(logits)
        slope = (multipliers + rho * self._constraints(logits)).clamp_min(0)
        penalty = (slope.square() - multipliers.square()) / (2 * rho)
        return cross_entropy_of(logits.log_softmax(dim=1), targets) + penalty.mean()

    def _constraints(self, logits: Tensor) -> Tensor:
        return (logits.amax(dim=1, keepdim=True) - logits) / self.options.margin - 1

    def end_epoch(self, epoch: int, calibration: tuple[Tensor, Tensor] | None) -> None:
        """Move multipliers and rho towards the constraints of the calibration split."""
        if calibration is None:
            return
        constraints = self._constraints(calibration[0].double())
        slopes = (self.multipliers + self.rho * constraints).clamp(LEAST, MOST)
        self.multipliers = slopes.mean(dim=0)
        now = constraints.mean(dim=0)
        if epoch % EVERY == 0:
            grown = torch.where(now > SHRINK * self.before.clamp_min(0), GROWTH * self.rho, self.rho)
            self.rho = grown.clamp(1.0, self.options.most)
        self.before = now

    def tensors(self) -> dict[str, Tensor]:
        """Multipliers, rho and the constraints of the last epoch."""
        return {"multipliers": self.multipliers, "rho": self.rho, "before": self.before}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from saved multipliers."""
        self.multipliers, self.rho, self.before = tensors["multipliers"], tensors["rho"], tensors["before"]
