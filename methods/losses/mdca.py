"""Focal loss with the multi-class difference in confidence and accuracy."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import as_distributions, expected_over_targets, focal_term, log_probabilities


@register("mdca", label="MDCA", paper="hebbalaguppe2022stitch")
@dataclass
class Mdca(Objective):
    """-(1 - p_y)^gamma log p_y + weight / K sum_k |mean_i p_ik - mean_i [k = y_i]|, means over the batch.

    Hebbalaguppe et al. 2022, arXiv 2203.13834 (FL + MDCA); gamma 0 is their NLL + MDCA. Distributions t as targets give
    the expectation of the focal term and the difference to mean_i t_ik. The second term is a property of the batch, so
    its value depends on the batch size.
    """

    needs = frozenset({"whole-batch"})

    weight: Annotated[float, Field(ge=0)] = 1.0
    gamma: Annotated[float, Field(ge=0)] = 1.0
    tune_grid = (("weight", (0.5, 1.0, 5.0, 10.0)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The loss of a batch: logits (N, K); targets (N,) or (N, K)."""
        log_p = log_probabilities(outputs)
        focal = expected_over_targets(log_p, targets, lambda log_q: focal_term(log_q, self.gamma))
        gap = (log_p.exp() - as_distributions(targets, log_p)).mean(dim=0)
        return focal + self.weight * gap.abs().mean()
