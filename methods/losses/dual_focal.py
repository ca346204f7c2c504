"""The dual focal loss."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import hard_labels, log_probabilities, safe_power


@register("dual-focal", label="Dual Focal", paper="tao2023dual")
@dataclass
class DualFocal(Objective):
    """-(1 - p_y + p_j)^gamma log p_y, p_j the largest probability strictly below p_y (0 where there is none).

    Tao et al. 2023, arXiv 2305.13665, whose gamma is 5 for ResNet-50 on CIFAR and 2.3 to 6.1 elsewhere. For the loss
    that the CalAttn code calls dual focal see dual-focal-calattn.
    """

    needs = frozenset({"hard-labels"})
    gamma: Annotated[float, Field(ge=0)] = 5.0
    tune_grid = (("gamma", (2.0, 3.0, 4.0, 5.0)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K), labels (N,)."""
        log_p = log_probabilities(outputs)
        log_p_y = log_p.gather(1, hard_labels(targets)[:, None])
        runner_up = torch.where(log_p < log_p_y, log_p.exp(), 0).amax(dim=1, keepdim=True)
        return -(safe_power(runner_up - torch.expm1(log_p_y), self.gamma) * log_p_y).mean()
