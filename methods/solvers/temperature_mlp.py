"""CalAttn's temperature network, shared by the head trained with the backbone and its post-hoc calibrators."""

import math
from typing import Self

from torch import Tensor, nn
from torch.nn import functional


class TemperatureMLP(nn.Module):
    """A temperature per sample from a representation: s = softplus(W2 GELU(W1 h + b1) + b2) + 1e-6.

    Liang et al. 2026, arXiv 2508.08547. Weights start as PyTorch starts linear layers, as in the authors' code.

    Args:
        in_features: D, the width of the representation h.
        hidden: the width of the hidden layer.
    """

    def __init__(self, in_features: int, hidden: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(in_features, hidden)
        self.out = nn.Linear(hidden, 1)

    def start_at_one(self) -> Self:
        """Set the last layer so that the temperature is about 1 for every input; returns the network itself."""
        nn.init.normal_(self.out.weight, std=1e-3)
        nn.init.constant_(self.out.bias, math.log(math.e - 1))
        return self

    def forward(self, representation: Tensor) -> Tensor:
        """The temperatures (N,), above zero, of `representation` (N, D)."""
        raw = self.out(functional.gelu(self.hidden(representation))).squeeze(1)
        return functional.softplus(raw) + 1e-6
