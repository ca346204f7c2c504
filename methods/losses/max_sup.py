"""Max suppression: label smoothing that acts on the largest logit."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import cross_entropy_of, full_precision


@register("max-sup", label="MaxSup", paper="zhou2025maxsup")
@dataclass
class MaxSuppression(Objective):
    """-log p_y + alpha (max_k z_k - 1/K sum_k z_k).

    Label smoothing is -log p_y + alpha (z_y - 1/K sum_k z_k): where the prediction is wrong it pushes the label's logit
    down and leaves the wrong one. Max suppression takes the largest logit in its place. Zhou et al. 2025, arXiv
    2502.15798, equation 8. The penalty does not see the target. The authors' code for convolutional networks raises
    alpha linearly from 0.1 to 0.2 over the epochs.
    """

    alpha: Annotated[float, Field(ge=0)] = 0.1
    tune_grid = (("alpha", (0.05, 0.1, 0.2, 0.3)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K); targets (N,) or (N, K)."""
        logits = full_precision(outputs.logits)
        penalty = (logits.amax(dim=1) - logits.mean(dim=1)).mean()
        return cross_entropy_of(logits.log_softmax(dim=1), targets) + self.alpha * penalty
