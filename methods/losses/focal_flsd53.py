"""The focal loss with the sample-dependent gamma FLSD-53."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import expected_over_targets, focal_term, log_probabilities


def _term(log_p: Tensor) -> Tensor:
    return focal_term(log_p, torch.where(log_p < math.log(0.2), 5.0, 3.0))


@register("focal-flsd53", label="FLSD-53", paper="mukhoti2020focal")
@dataclass
class FocalFlsd53(Objective):
    """-(1 - p_y)^gamma log p_y with gamma 5 where p_y < 0.2 and gamma 3 elsewhere, chosen per sample.

    Mukhoti et al. 2020, arXiv 2002.09437, section 5. A distribution t as target gives the expectation over labels drawn
    from it, gamma chosen by each p_k. For the loss that the CalAttn code calls FLSD-53 see focal-flsd53-calattn.
    """

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K); targets (N,) or (N, K)."""
        return expected_over_targets(log_probabilities(outputs), targets, _term)
