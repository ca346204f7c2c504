"""The focal loss."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import expected_over_targets, focal_term, log_probabilities


@register("focal", label="Focal", paper="lin2017focal")
@dataclass
class Focal(Objective):
    """-(1 - p_y)^gamma log p_y.

    Lin et al. 2017, arXiv 1708.02002, in its softmax form; gamma 3 as Mukhoti et al. 2020 use it for calibration. A
    distribution t as target gives the expectation over labels drawn from it, -sum_k t_k (1 - p_k)^gamma log p_k.
    """

    gamma: Annotated[float, Field(ge=0)] = 3.0
    tune_grid = (("gamma", (1.0, 2.0, 3.0, 5.0)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K); targets (N,) or (N, K)."""
        return expected_over_targets(log_probabilities(outputs), targets, lambda log_p: focal_term(log_p, self.gamma))
