"""Relaxed softmax: a confidence per sample that multiplies the logits."""

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from calbench.methods.base import BackboneInfo, Head, HeadModule, Representation, register
from calbench.methods.heads._divide import divide_by


@register("relaxed-softmax", label="Relaxed Softmax", paper="neumann2018relaxed")
@dataclass
class RelaxedSoftmax(Head):
    """logits x alpha with alpha = softplus(w . h + b) + 1e-6, h the pooled feature, trained with the backbone.

    Neumann et al. 2018. alpha comes from one more linear output next to the classifier's and starts at 1 (w = 0). The
    temperature reported is 1 / alpha. The default objective is cross-entropy. The head of that name in the CalAttn code
    has a hidden layer and divides; here that is calattn.
    """

    def build(self, backbone: BackboneInfo, num_classes: int) -> HeadModule:
        """Make the module; `num_classes` does not matter to it."""
        return RelaxedSoftmaxModule(backbone.num_features)


class RelaxedSoftmaxModule(HeadModule):
    """The head that `RelaxedSoftmax` describes."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.temperature = _InverseConfidence(num_features)

    def forward(self, representation: Representation) -> tuple[Tensor, Tensor]:
        """Return logits x alpha (N, K) and 1 / alpha (N,)."""
        return divide_by(self.temperature, representation.features, representation.logits)


class _InverseConfidence(nn.Module):
    """1 / alpha of features (N, D), as (N,)."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.constant_(self.linear.bias, math.log(math.e - 1))

    def forward(self, features: Tensor) -> Tensor:
        return 1 / (functional.softplus(self.linear(features).squeeze(1)) + 1e-6)
