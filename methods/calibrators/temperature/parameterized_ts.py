"""Parameterised temperature scaling: the temperature from the largest logits, sorted."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from calbench.methods.base import register
from calbench.methods.calibrators._network import NetworkCalibrator, SummaryNetwork


@register("parameterized-ts", label="PTS", paper="tomani2022parameterized")
@dataclass
class ParameterizedTS(NetworkCalibrator):
    """softmax(z / T(z)), T(z) = abs(network(the ``top`` largest logits, sorted)), minimising the squared error.

    Two hidden layers of five units with ReLU and ten logits, as the authors have it; the loss is the mean squared error
    of the probabilities against the one-hot label. Logits are taken relative to the largest, so that a shift of all of
    them, which changes no probability, changes no temperature.

    Tomani, Cremers and Buettner 2022, arXiv 2102.12182.
    """

    hidden: Annotated[int, Field(ge=1)] = 5
    layers: Annotated[int, Field(ge=1)] = 2
    top: Annotated[int, Field(ge=2)] = 10
    learning_rate: Annotated[float, Field(gt=0)] = 1e-2
    tune_grid = (("top", (2, 5, 10, 20)),)

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``network_`` on calibration logits (N, K) and labels (N,)."""
        self.fit_temperatures(logits, labels)
        return self

    def batch_loss(self, logits: Tensor, labels: Tensor, temperatures: Tensor) -> Tensor:
        """The squared error of the probabilities."""
        probabilities = (logits / temperatures[:, None]).softmax(dim=1)
        return functional.mse_loss(probabilities, functional.one_hot(labels, logits.shape[1]).to(logits.dtype))

    def build_module(self, name: str) -> nn.Module:
        """Build the untrained network, near T = 1 (times ``scale_``)."""
        return SortedLogitsNetwork(min(self.top, self.num_classes_), self.hidden, self.layers)


class SortedLogitsNetwork(SummaryNetwork):
    """Temperatures (N,) from the `top` largest logits of each row."""

    def __init__(self, top: int, hidden: int, layers: int) -> None:
        super().__init__()
        widths = [top] + [hidden] * layers
        steps = [module for pair in pairwise(widths) for module in (nn.Linear(*pair), nn.ReLU())]
        self.top = top
        self.body = nn.Sequential(*steps)
        self.out = nn.Linear(hidden, 1)
        nn.init.normal_(self.out.weight, std=1e-2)
        nn.init.ones_(self.out.bias)

    def summary(self, logits: Tensor) -> Tensor:
        """The largest logits, relative to the very largest (N, top)."""
        largest = torch.topk(logits, self.top, dim=1).values
        return largest - largest[:, :1]

    def of_summary(self, summary: Tensor) -> Tensor:
        """The temperatures (N,), above zero."""
        return self.out(self.body(summary)).squeeze(1).abs().clamp_min(1e-6)
