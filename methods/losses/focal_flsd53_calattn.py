"""The loss that the code of CalAttn calls FLSD-53."""

from dataclasses import dataclass

from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import expected_over_targets, focal_term, log_probabilities


@register("focal-flsd53-calattn", label="FLSD-53 (CalAttn code)", paper="liang2026calattn")
@dataclass
class FocalFlsd53CalAttn(Objective):
    """-(1 - p_y)^5 log p_y: gamma 5 throughout.

    The "FLSD-53" of the released code of Liang et al. 2026, whose schedule of gamma from 5 to 3 is never advanced; for
    tables that reproduce it. That code clamps p_y at 1e-8, which stops the gradient below; this does not. The published
    loss is focal-flsd53.
    """

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K); targets (N,) or (N, K)."""
        return expected_over_targets(log_probabilities(outputs), targets, lambda log_p: focal_term(log_p, 5.0))
