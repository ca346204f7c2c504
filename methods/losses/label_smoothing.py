"""Label smoothing."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import as_distributions, full_precision


@register("label-smoothing", label="LS", paper="muller2019label")
@dataclass
class LabelSmoothing(Objective):
    """-sum_k t'_k log p_k with t' = (1 - epsilon) t + epsilon / K, t the one-hot label or the given distribution.

    Müller et al. 2019, arXiv 1906.02629; epsilon 0.05 is LS-0.05 of Mukhoti et al. 2020.
    """

    epsilon: Annotated[float, Field(ge=0, lt=1)] = 0.05
    tune_grid = (("epsilon", (0.01, 0.05, 0.1, 0.2)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K) in nats; targets (N,) or (N, K)."""
        logits = full_precision(outputs.logits)
        targets = targets if targets.ndim == 1 else as_distributions(targets, logits)
        return functional.cross_entropy(logits, targets, label_smoothing=self.epsilon)
