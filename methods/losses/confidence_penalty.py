"""Cross-entropy with a reward for entropy."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import cross_entropy_of, log_probabilities


@register("confidence-penalty", label="ECP", paper="pereyra2017regularizing")
@dataclass
class ConfidencePenalty(Objective):
    """-log p_y - beta H(p), H(p) = -sum_k p_k log p_k.

    Pereyra et al. 2017, arXiv 1701.06548, with beta 0.1. Code that averages p log p over samples and
    classes has a beta K times smaller than its option. A distribution t as target gives -sum_k t_k log p_k - beta H(p).
    """

    beta: Annotated[float, Field(ge=0)] = 0.1
    tune_grid = (("beta", (0.03, 0.1, 0.3, 0.5)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K); targets (N,) or (N, K)."""
        log_p = log_probabilities(outputs)
        entropy = -(log_p.exp() * log_p).sum(dim=1).mean()
        return cross_entropy_of(log_p, targets) - self.beta * entropy
