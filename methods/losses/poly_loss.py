"""PolyLoss: cross-entropy with a reweighted first term of its polynomial expansion."""

from dataclasses import dataclass

import torch
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import expected_over_targets, log_probabilities


@register("poly-loss", label="Poly-1", paper="leng2022polyloss")
@dataclass
class PolyLoss(Objective):
    """-log p_y + epsilon (1 - p_y).

    Cross-entropy is sum_j (1 - p_y)^j / j; Poly-1 gives the first term the weight 1 + epsilon. Leng et al. 2022, arXiv
    2204.12511, with epsilon 2 for image classification; a negative epsilon asks for less confidence. A
    distribution t as target gives the expectation over labels drawn from it.
    """

    epsilon: float = 2.0
    tune_grid = (("epsilon", (-0.5, 1.0, 2.0, 4.0)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K); targets (N,) or (N, K)."""
        log_p = log_probabilities(outputs)
        return expected_over_targets(log_p, targets, lambda log_q: -log_q - self.epsilon * torch.expm1(log_q))
