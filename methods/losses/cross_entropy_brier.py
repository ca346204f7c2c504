"""Cross-entropy with a Brier term: the loss of CalAttn without its head."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import brier_score, cross_entropy_of, log_probabilities


@register("cross-entropy-brier", label="CE+Brier", paper="liang2026calattn")
@dataclass
class CrossEntropyBrier(Objective):
    """-log p_y + weight sum_k (p_k - [k = y])^2.

    The loss of CalAttn (Liang et al. 2026, arXiv 2508.08547), without its head the fair control of it. A distribution t
    as target gives -sum_k t_k log p_k + weight sum_k (p_k - t_k)^2.
    """

    weight: Annotated[float, Field(ge=0)] = 0.1
    tune_grid = (("weight", (0.03, 0.1, 0.3, 1.0)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K); targets (N,) or (N, K)."""
        log_p = log_probabilities(outputs)
        return cross_entropy_of(log_p, targets) + self.weight * brier_score(log_p, targets)
