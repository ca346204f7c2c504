"""Vector scaling by the top-versus-all loss."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import register
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.calibrators.top_label.tva import correctness_loss
from calbench.methods.solvers.few_parameters import minimise_rows
from calbench.methods.solvers.newton import optimal_temperature


@register("tva-vs", label="VS (TvA)", paper="lecoz2024confidence")
@dataclass
class TopVersusAllVS(Calibrator):
    """softmax(w * z + b), minimising -[correct] log q - [wrong] log(1 - q), q = max_k p_k, plus a ridge on w and b.

    The ridge is weight / K sum_k ((T w_k - 1)^2 + b_k^2), T the optimal temperature: the binary loss does not depend on
    which other class a wrong prediction belongs to, and without the ridge w and b of rare classes drift. It is this
    package's form of the paper's regularisation. Whether a prediction is correct is re-evaluated at every step.

    Le Coz, Herbin and Adjed 2024, arXiv 2411.02988.
    """

    weight: Annotated[float, Field(ge=0)] = 0.01
    tune_grid = (("weight", (0.001, 0.01, 0.1, 1.0)),)

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``weight_`` and ``bias_`` (K,) on calibration logits (N, K) and labels (N,)."""
        unit, num_classes = 1 / optimal_temperature(logits, labels), logits.shape[1]

        def loss(point: Tensor, rows: slice) -> Tensor:
            scale, bias = point.view(2, num_classes)
            scale, bias = (unit * scale).to(logits.dtype), bias.to(logits.dtype)
            return correctness_loss(logits[rows] * scale + bias, labels[rows])

        def ridge(point: Tensor) -> Tensor:
            scale, bias = point.view(2, num_classes)
            return self.weight * ((scale - 1).square() + bias.square()).mean()

        start = torch.cat([torch.ones(num_classes), torch.zeros(num_classes)])
        scale, bias = minimise_rows(loss, start, logits, penalty=ridge, steps=60).view(2, num_classes)
        self.weight_, self.bias_ = (scale * unit).to(logits.dtype), bias.to(logits.dtype)
        return self

    def transform(self, logits: Any) -> Any:
        """Scaled and shifted logits, w * z + b (N, K)."""
        return logits * self.weight_.to(logits) + self.bias_.to(logits)
