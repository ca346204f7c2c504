"""Temperature scaling by the top-versus-all loss."""

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from calbench.methods.base import register
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.calibrators.top_label.tva import correctness_loss
from calbench.methods.solvers.few_parameters import minimise_rows
from calbench.methods.solvers.newton import optimal_temperature


@register("tva-ts", label="TS (TvA)", paper="lecoz2024confidence")
@dataclass
class TopVersusAllTS(Calibrator):
    """softmax(z / T), T > 0 minimising -[correct] log q - [wrong] log(1 - q) with q = max_k softmax(z / T)_k.

    The binary loss looks at the confidence only, so T is the one at which it fits the accuracy best; which of the other
    classes the label was does not count. Searched from the optimal temperature of the NLL, within a factor of e^5.

    Le Coz, Herbin and Adjed 2024, arXiv 2411.02988.
    """

    keeps_accuracy = True

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``temperature_`` on calibration logits (N, K) and labels (N,)."""
        start = optimal_temperature(logits, labels)

        def loss(point: Tensor, rows: slice) -> Tensor:
            return correctness_loss(logits[rows].double() / (start * point.clamp(-5, 5).exp()), labels[rows])

        point = minimise_rows(loss, torch.zeros(1), logits)
        self.temperature_ = start * float(point.clamp(-5, 5).exp())
        return self

    def transform(self, logits: Any) -> Any:
        """Logits over the temperature, z / T (N, K)."""
        return logits / self.temperature_
