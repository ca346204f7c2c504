"""Sample-adaptive temperature scaling: a temperature per sample from its logits."""

from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn
from torch.nn import functional

from calbench.methods.base import register
from calbench.methods.calibrators._network import NetworkCalibrator
from calbench.methods.solvers.temperature_mlp import TemperatureMLP


@register("sats", label="SATS", paper="liang2026calattn")
@dataclass
class SampleAdaptiveTS(NetworkCalibrator):
    """softmax(z / T(z)), T(z) = softplus(W2 GELU(W1 z + b1) + b2) + 1e-6, minimising the NLL.

    Trained until the NLL of held-out calibration rows no longer falls. The code of Liang et al. gives the same network
    ten optimiser steps in all, which leaves it near its random start.

    As compared in Liang et al. 2026, arXiv 2508.08547.
    """

    tune_grid = (("hidden", (32, 64, 128, 256)),)

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``network_`` on calibration logits (N, K) and labels (N,)."""
        self.fit_temperatures(logits, labels)
        return self

    def batch_loss(self, logits: Tensor, labels: Tensor, temperatures: Tensor) -> Tensor:
        """The NLL."""
        return functional.cross_entropy(logits / temperatures[:, None], labels)

    def build_module(self, name: str) -> nn.Module:
        """Build the untrained network, near T = 1 (times ``scale_``)."""
        return TemperatureMLP(self.num_classes_, self.hidden).start_at_one()
