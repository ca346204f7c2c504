"""Margin-based label smoothing."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import cross_entropy_of, full_precision


@register("mbls", label="MbLS", paper="liu2022devil")
@dataclass
class MarginLabelSmoothing(Objective):
    """-log p_y + weight / K sum_k relu(max_j z_j - z_k - margin).

    Liu et al. 2022, arXiv 2111.15430; weight 0.1 throughout, margin 10 for Tiny-ImageNet and CUB (6 on
    CIFAR-10). A distribution t as target gives -sum_k t_k log p_k and the same penalty, which does not see the target.
    """

    weight: Annotated[float, Field(ge=0)] = 0.1
    margin: Annotated[float, Field(ge=0)] = 10.0
    tune_grid = (("margin", (5.0, 8.0, 10.0, 15.0)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K); targets (N,) or (N, K)."""
        logits = full_precision(outputs.logits)
        beyond = functional.relu(logits.amax(dim=1, keepdim=True) - logits - self.margin)
        return cross_entropy_of(logits.log_softmax(dim=1), targets) + self.weight * beyond.mean()
