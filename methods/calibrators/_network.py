"""The base of calibrators that divide the logits by a temperature per sample, predicted by a small network."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from calbench.methods.calibrators._base import Calibrator
from calbench.methods.solvers.network_fit import fit_network, seeded
from calbench.methods.solvers.newton import optimal_temperature
from calbench.methods.solvers.nll import in_blocks

FLOOR = 30.0
"""Units below the row's largest logit at which the inputs of a network are floored: a probability of e^-30."""


@dataclass
class NetworkCalibrator(Calibrator):
    """softmax(z / T(x)), T(x) = ``scale_`` times the output of ``network_``.

    ``scale_`` is the optimal single temperature. The network sees logits in that unit and starts near the constant 1,
    so that training starts from temperature scaling at any magnitude of the logits; the functions that it can
    represent are those of a network on the raw logits. Logits more than `FLOOR` below the row's largest (masked
    classes, outliers) are raised to that before the network sees them: they carry no probability, and would drown the
    others.
    """

    hidden: Annotated[int, Field(ge=1)] = 128
    steps: Annotated[int, Field(ge=1)] = 1000
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    batch_size: Annotated[int, Field(ge=1)] = 256
    seed: Annotated[int, Field(ge=0)] = 0

    keeps_accuracy = True

    def fit_temperatures(self, logits: Tensor, labels: Tensor, inputs: Tensor | None = None) -> None:
        """Fit ``scale_``, then ``network_``, on `logits` (N, K) and `labels` (N,); it sees `inputs`, or the logits."""
        self.num_classes_ = logits.shape[1]
        self.scale_ = optimal_temperature(logits, labels)
        inputs = logits if inputs is None else inputs
        with seeded(self.seed, logits.device):
            network = self.build_module("network_").to(logits.device)
            predict: nn.Module | Callable[[Tensor], Tensor] = network
            if inputs is logits and isinstance(network, SummaryNetwork):
                inputs = in_blocks(lambda part: network.summary(floored((part / self.scale_).float())), logits)
                predict = network.of_summary

            def loss(rows: Tensor) -> Tensor:
                scaled = (logits[rows] / self.scale_).float()
                seen = floored(scaled) if inputs is logits else inputs[rows].float()
                return self.batch_loss(scaled, labels[rows], predict(seen))

            fit_network(
                network, loss, len(logits),
                steps=self.steps, learning_rate=self.learning_rate, batch_size=self.batch_size,
            )  # fmt: skip
        self.network_ = network

    @abstractmethod
    def batch_loss(self, logits: Tensor, labels: Tensor, temperatures: Tensor) -> Tensor:
        """The loss of a batch of logits (N, K) in units of ``scale_``, to be divided by `temperatures` (N,)."""

    @abstractmethod
    def build_module(self, name: str) -> nn.Module:
        """Build the untrained network, inputs to temperatures (N,)."""

    def temperatures(self, logits: Tensor, inputs: Tensor | None = None) -> Tensor:
        """The temperature of every row (N,), in the unit of the raw logits (N, K)."""
        seen = floored(logits / self.scale_) if inputs is None else inputs
        return self.network_(seen.float()).to(logits.dtype) * self.scale_

    def transform(self, logits: Any) -> Any:
        """Logits over the temperature of each sample (N, K)."""
        return logits / self.temperatures(logits)[:, None]


class SummaryNetwork(nn.Module, ABC):
    """A network that sees a few numbers of each row of logits, which are computed once and not in every step."""

    @abstractmethod
    def summary(self, logits: Tensor) -> Tensor:
        """What the network sees (N, D) of `logits` (N, K)."""

    @abstractmethod
    def of_summary(self, summary: Tensor) -> Tensor:
        """The temperatures (N,), above zero."""

    def forward(self, logits: Tensor) -> Tensor:
        """The temperatures (N,), above zero, of `logits` (N, K)."""
        return self.of_summary(self.summary(logits))


def floored(logits: Tensor) -> Tensor:
    """`logits` (N, K), none more than `FLOOR` below the largest of its row."""
    return logits.maximum(logits.amax(dim=1, keepdim=True) - FLOOR)
