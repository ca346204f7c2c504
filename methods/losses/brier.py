"""The Brier score as a training loss."""

from dataclasses import dataclass

from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import brier_score, log_probabilities


@register("brier", label="Brier", paper="brier1950verification")
@dataclass
class BrierLoss(Objective):
    """sum_k (p_k - t_k)^2, t the one-hot label or the given distribution.

    Brier 1950. For a distribution t this differs from the expectation over labels sampled from t only by a constant, so
    the gradient is the same.
    """

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch, 0..2: logits (N, K); targets (N,) or (N, K)."""
        return brier_score(log_probabilities(outputs), targets)
