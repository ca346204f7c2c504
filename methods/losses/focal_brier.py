"""The focal loss with a Brier term."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import brier_score, expected_over_targets, focal_term, log_probabilities


@register("focal-brier", label="FCL", paper="liang2024calibrating")
@dataclass
class FocalBrier(Objective):
    """-(1 - p_y)^gamma log p_y + weight sum_k (p_k - [k = y])^2.

    The focal calibration loss of Liang et al. 2024, arXiv 2410.18321. The Brier term is proper and takes back the
    underconfidence that the focal term asks for, as far as `weight` reaches. Distributions t as targets give the
    expectation of the focal term and sum_k (p_k - t_k)^2.

    Verified against the paper's abstract only (focal loss and a strictly proper term in the Euclidean norm); its full
    text was not read and no code of this loss was found, so that the values of ``gamma`` and ``weight`` are ours.
    """

    gamma: Annotated[float, Field(ge=0)] = 3.0
    weight: Annotated[float, Field(ge=0)] = 0.5
    tune_grid = (("weight", (0.1, 0.5, 1.0, 2.0)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K); targets (N,) or (N, K)."""
        log_p = log_probabilities(outputs)
        focal = expected_over_targets(log_p, targets, lambda log_q: focal_term(log_q, self.gamma))
        return focal + self.weight * brier_score(log_p, targets)
