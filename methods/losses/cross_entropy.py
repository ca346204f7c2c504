"""Cross-entropy."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import as_distributions, full_precision


@register("cross-entropy", label="CE")
@dataclass
class CrossEntropy(Objective):
    """-log p_y; against a distribution t, -sum_k t_k log p_k."""

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K) in nats; targets (N,) or (N, K)."""
        logits = full_precision(outputs.logits)
        return functional.cross_entropy(logits, targets if targets.ndim == 1 else as_distributions(targets, logits))
