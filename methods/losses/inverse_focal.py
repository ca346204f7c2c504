"""The inverse focal loss."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import expected_over_targets, log_probabilities


@register("inverse-focal", label="Inv. Focal", paper="wang2021rethinking")
@dataclass
class InverseFocal(Objective):
    """-(1 + p_y)^gamma log p_y.

    It gives easy samples more weight, not less: the network gets more over-confident, and is better calibrated after a
    post-hoc step, which is the point of the paper. Meant for entries such as ``inverse-focal + temperature-scaling``.
    Wang et al. 2021. A distribution t as target gives the expectation over labels drawn from it.
    """

    gamma: Annotated[float, Field(ge=0)] = 2.0
    tune_grid = (("gamma", (0.5, 1.0, 2.0, 3.0)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K); targets (N,) or (N, K)."""
        log_p = log_probabilities(outputs)
        return expected_over_targets(log_p, targets, lambda log_q: -((1 + log_q.exp()) ** self.gamma) * log_q)
