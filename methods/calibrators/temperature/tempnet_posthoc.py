"""TempNet on a frozen backbone: a temperature per sample, trained with the robust loss."""

import math
import warnings
from dataclasses import dataclass
from typing import Annotated, Any, Self, cast

from pydantic import Field
from torch import Tensor, nn

from calbench.methods.base import register
from calbench.methods.calibrators._network import NetworkCalibrator
from calbench.methods.solvers.newton import optimal_temperature
from calbench.methods.solvers.nll import mean_nll
from calbench.methods.solvers.temperature_network import TemperatureNetwork, robust_loss


@register("tempnet-posthoc", label="TempNet (post-hoc)", paper="qiu2024cool")
@dataclass
class TempNetPosthoc(NetworkCalibrator):
    """softmax(z / tau(z)), with tau from the temperature network, minimising tau CE(z / tau) + (rho - log K) tau.

    On frozen logits the labels drop out of the gradient of tau: the loss asks for samples of entropy log K - rho.
    If ``rho`` is not set, it is therefore log K minus the NLL at the optimal single temperature, the mean entropy of
    a calibrated model. ``tau_min`` and ``tau_max`` bound the temperature relative to that optimal one, from which
    training starts. The network sees the l2-normalised logits only. So it helps where the direction of the
    logits predicts the difficulty of a sample, and can harm otherwise, mainly with few classes: then `fit` warns.

    Qiu et al. 2024, arXiv 2404.04575.
    """

    rho: Annotated[float, Field(gt=0)] | None = None
    tau_min: Annotated[float, Field(gt=0, lt=1)] = 0.2
    tau_max: Annotated[float, Field(gt=1)] = 5.0
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    tune_grid = (("tau_max", (2.0, 3.0, 5.0, 10.0)),)

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``network_`` on calibration logits (N, K) and labels (N,), from ``scale_`` on."""
        self.rho_ = self.rho
        if self.rho_ is None:
            self.rho_ = math.log(logits.shape[1]) - mean_nll(logits, labels, optimal_temperature(logits, labels))
        self.fit_temperatures(logits, labels)
        if mean_nll(self.transform(logits), labels) > mean_nll(logits, labels):
            told = "the NLL of its own calibration split rose: its loss does not look at the labels"
            warnings.warn(f"{self.spec.name}: {told}", stacklevel=2)
        return self

    def batch_loss(self, logits: Tensor, labels: Tensor, temperatures: Tensor) -> Tensor:
        """The robust loss of the paper."""
        return robust_loss(logits, labels, temperatures, cast("float", self.rho_))

    def build_module(self, name: str) -> nn.Module:
        """Build the untrained temperature network, with tau = 1 (times ``scale_``) at the start."""
        network = TemperatureNetwork(self.num_classes_, self.hidden, self.tau_min, self.tau_max, self.dropout)
        nn.init.constant_(network.pool.bias, math.log((1 - self.tau_min) / (self.tau_max - 1)))
        return network
