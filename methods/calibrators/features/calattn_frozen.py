"""The temperature of CalAttn, fitted on frozen features: the control for its claim to reshape the representation."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from calbench.methods.base import register
from calbench.methods.calibrators._network import NetworkCalibrator
from calbench.methods.solvers.temperature_mlp import TemperatureMLP


@register("calattn-frozen", label="CalAttn (frozen)", paper="liang2026calattn")
@dataclass
class CalAttnFrozen(NetworkCalibrator):
    """softmax(z / s(h)), s(h) = softplus(W2 GELU(W1 h + b1) + b2) + 1e-6 on frozen features h, minimising CE + w Brier.

    The head of CalAttn with its loss (``brier_weight`` 0.1), but the backbone sees no gradient. Features are centred
    and scaled by the calibration split's mean and root mean square before the network.

    A control for Liang et al. 2026, arXiv 2508.08547.
    """

    brier_weight: Annotated[float, Field(ge=0)] = 0.1

    needs = frozenset({"features"})
    tune_grid = (("hidden", (32, 64, 128, 256)),)

    def fit(self, logits: Any, labels: Any, features: Any = None) -> Self:
        """Fit ``network_`` on calibration logits (N, K), labels (N,) and pooled features (N, D)."""
        self.num_features_ = features.shape[1]
        self.center_ = features.mean(dim=0)
        self.unit_ = float((features - self.center_).square().mean().sqrt().clamp_min(1e-12))
        self.fit_temperatures(logits, labels, self._inputs(features))
        return self

    def transform(self, logits: Any, features: Any = None) -> Any:
        """Logits over the temperature of each sample (N, K), from the features (N, D) of the same samples."""
        return logits / self.temperatures(logits, self._inputs(features))[:, None]

    def batch_loss(self, logits: Tensor, labels: Tensor, temperatures: Tensor) -> Tensor:
        """Cross-entropy plus the weighted Brier score."""
        log_probabilities = (logits / temperatures[:, None]).log_softmax(dim=1)
        probabilities = log_probabilities.exp()
        own = probabilities.gather(1, labels[:, None]).squeeze(1)
        brier = probabilities.square().sum(dim=1) - 2 * own + 1
        return functional.nll_loss(log_probabilities, labels) + self.brier_weight * brier.mean()

    def build_module(self, name: str) -> nn.Module:
        """Build the untrained network, near s = 1 (times ``scale_``)."""
        return TemperatureMLP(self.num_features_, self.hidden).start_at_one()

    def _inputs(self, features: Tensor) -> Tensor:
        if features.shape[1] != self.num_features_:
            raise ValueError(f"features: expected {self.num_features_} columns, got {features.shape[1]}")
        return (features - self.center_.to(features)).div(self.unit_).to(torch.float32)
