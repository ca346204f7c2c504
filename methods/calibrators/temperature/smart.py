"""SMART: a temperature from the gap of the two largest logits."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.methods.base import register
from calbench.methods.calibrators._network import NetworkCalibrator, SummaryNetwork
from calbench.methods.solvers.temperature_mlp import TemperatureMLP

SMOOTH = 1e-3


@register("smart", label="SMART", paper="guo2025smart")
@dataclass
class Smart(NetworkCalibrator):
    """softmax(z / T(g)), g = z_(1) - z_(2) the gap of the two largest logits, T a small network, by a soft-binned ECE.

    One number in, ``hidden`` units, one temperature out, so it can be fitted on few samples. The loss is sum_b of the
    share of bin b times sqrt((accuracy - confidence of bin b)^2 + 1e-3^2) over 15 bins with Gaussian memberships of
    width ``width``. It looks at the confidence only and not at the NLL. Gaps are in units of the optimal temperature,
    where training starts.

    Guo et al. 2026, arXiv 2506.23492. The square root is the Charbonnier smoothing of the ICML 2026 version. Public
    code of that loss subtracts the constant 1e-3, which changes no gradient, and takes Huber's function by default.
    """

    hidden: Annotated[int, Field(ge=1)] = 16
    learning_rate: Annotated[float, Field(gt=0)] = 5e-3
    batch_size: Annotated[int, Field(ge=1)] = 1024
    width: Annotated[float, Field(gt=0)] = 0.05
    tune_grid = (("width", (0.02, 0.05, 0.1, 0.2)),)

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``network_`` on calibration logits (N, K) and labels (N,)."""
        self.fit_temperatures(logits, labels)
        return self

    def batch_loss(self, logits: Tensor, labels: Tensor, temperatures: Tensor) -> Tensor:
        """The soft-binned ECE of the batch."""
        confidence, predicted = (logits / temperatures[:, None]).softmax(dim=1).max(dim=1)
        return soft_ece(confidence, (predicted == labels).to(confidence.dtype), self.width)

    def build_module(self, name: str) -> nn.Module:
        """Build the untrained network, near T = 1 (times ``scale_``)."""
        return GapNetwork(self.hidden)


class GapNetwork(SummaryNetwork):
    """Temperatures (N,) from the gap of the two largest logits of each row."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.body = TemperatureMLP(1, hidden).start_at_one()

    def summary(self, logits: Tensor) -> Tensor:
        """The gaps (N, 1)."""
        first, second = torch.topk(logits, 2, dim=1).values.unbind(dim=1)
        return (first - second)[:, None]

    def of_summary(self, summary: Tensor) -> Tensor:
        """The temperatures (N,), above zero, of gaps (N, 1)."""
        return self.body(summary)


def soft_ece(confidence: Tensor, correct: Tensor, width: float) -> Tensor:
    """The ECE over soft bins: every sample belongs to all 15 bins with Gaussian weights that sum to one.

    Args:
        confidence: (N,).
        correct: 1 where the prediction is correct, 0 elsewhere (N,).
        width: of the Gaussian, in units of confidence.
    """
    centres = (torch.arange(DEFAULT_BINS, device=confidence.device) + 0.5) / DEFAULT_BINS
    weights = (-((confidence[:, None] - centres) ** 2) / (2 * width**2)).softmax(dim=1)
    gaps = weights.T @ (correct - confidence) / weights.sum(dim=0).clamp_min(1e-6)
    return (weights.mean(dim=0) * (gaps.square() + SMOOTH**2).sqrt()).sum()
