"""Adaptive and conditional label smoothing."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import cross_entropy_of, full_precision


@register("acls", label="ACLS", paper="park2023acls")
@dataclass
class AdaptiveConditionalSmoothing(Objective):
    """-log p_y + a relu(z_m - min_k z_k - M)^2 + b / (K - 1) sum_{k != m} relu(z_m - z_k - M)^2, m the largest logit.

    The strength of the smoothing grows with the distance of the logits (adaptive), and it acts only where that exceeds
    the margin M (conditional). Park et al. 2023, arXiv 2308.11911. The released code, from whose
    configuration the defaults come (a = 0.1 x 1, b = 0.1 x 0.1, M = 10), takes relu(z_m - M) for the first term, which
    is not invariant to a shift of the logits, and stops the gradient of z_m in the second; neither is done here. The
    penalty does not see the target.
    """

    predicted: Annotated[float, Field(ge=0)] = 0.1
    others: Annotated[float, Field(ge=0)] = 0.01
    margin: Annotated[float, Field(ge=0)] = 10.0
    tune_grid = (("margin", (5.0, 8.0, 10.0, 15.0)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K); targets (N,) or (N, K)."""
        logits = full_precision(outputs.logits)
        beyond = functional.relu(logits.amax(dim=1, keepdim=True) - logits - self.margin).square()
        first = self.predicted * beyond.amax(dim=1)
        second = self.others * beyond.sum(dim=1) / (logits.shape[1] - 1)
        return cross_entropy_of(logits.log_softmax(dim=1), targets) + (first + second).mean()
