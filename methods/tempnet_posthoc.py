"""TempNet on a frozen backbone: a temperature per sample, trained with the robust loss."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field
from torch import Tensor, nn

from .base import register
from .calibrator import Calibrator
from .network_fit import fit_network, seeded
from .nll import mean_nll
from .temperature_network import TemperatureNetwork, robust_loss
from .temperature_scaling import optimal_temperature


@register("tempnet-posthoc", label="TempNet (post-hoc)", paper="qiu2024cool")
@dataclass
class TempNetPosthoc(Calibrator):
    """softmax(z / tau(z)), with tau from the temperature network, minimising tau CE(z / tau) + (rho - log K) tau.

    On frozen logits the labels drop out of the gradient of tau: the loss asks for samples of entropy log K - rho.
    Without a given ``rho`` it is therefore log K minus the NLL at the optimal single temperature, where the mean entropy
    of a calibrated model lies. ``tau_min`` and ``tau_max`` bound the temperature relative to that optimal one, from
    which training starts. The network sees the l2-normalised logits only.

    Qiu et al. 2024, arXiv 2404.04575.
    """

    rho: Annotated[float, Field(gt=0)] | None = None
    tau_min: Annotated[float, Field(gt=0, lt=1)] = 0.2
    tau_max: Annotated[float, Field(gt=1)] = 5.0
    hidden: Annotated[int, Field(ge=1)] = 128
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    epochs: Annotated[int, Field(ge=1)] = 30
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    batch_size: Annotated[int, Field(ge=1)] = 256
    seed: Annotated[int, Field(ge=0)] = 0

    keeps_accuracy = True

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``network_`` on calibration logits (N, K) and labels (N,), from ``scale_``, the optimal temperature."""
        num_classes = logits.shape[1]
        self.num_classes_ = num_classes
        self.scale_ = optimal_temperature(logits, labels)
        scaled = (logits / self.scale_).float()
        rho = self.rho if self.rho is not None else math.log(num_classes) - mean_nll(scaled, labels)
        with seeded(self.seed, logits.device):
            network = self.build_module("network_").to(logits.device)

            def loss(rows: Tensor) -> Tensor:
                return robust_loss(scaled[rows], labels[rows], network(scaled[rows]), rho)

            fit_network(
                network, loss, len(logits),
                epochs=self.epochs, learning_rate=self.learning_rate, batch_size=self.batch_size,
            )  # fmt: skip
        self.network_ = network
        return self

    def transform(self, logits: Any) -> Any:
        """Logits over the temperature of each sample (N, K)."""
        return logits / self.temperatures(logits)[:, None]

    def temperatures(self, logits: Tensor) -> Tensor:
        """The temperature of every row of `logits` (N, K), in the units of the raw logits (N,)."""
        return self.network_(logits.float()).to(logits.dtype) * self.scale_

    def build_module(self, name: str) -> nn.Module:
        """Build the untrained temperature network, with tau = 1 (times ``scale_``) at the start."""
        network = TemperatureNetwork(self.num_classes_, self.hidden, self.tau_min, self.tau_max, self.dropout)
        nn.init.constant_(network.pool.bias, math.log((1 - self.tau_min) / (self.tau_max - 1)))
        return network
