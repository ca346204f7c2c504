"""Cross-entropy with the maximum mean calibration error of the batch."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import cross_entropy_of, hard_labels, log_probabilities, safe_root


@register("mmce", label="MMCE", paper="kumar2018trainable")
@dataclass
class Mmce(Objective):
    """-log p_y + weight MMCE_w, MMCE_w^2 = sum_ij v_i v_j exp(-|r_i - r_j| / 0.4) over the batch.

    r is the confidence; v = (1 - r) / n for the n correct samples and -r / m for the m wrong ones: the weighted form of
    Kumar et al. 2018 (ICML, PMLR 80), which normalises correct and wrong samples apart, with their square root and
    kernel. A batch without a correct or without a wrong sample has no MMCE_w, and as in their code no penalty. Where
    MMCE_w is below 1e-6 it counts as 0, for the gradient of the root is infinite at 0. It is a property of the batch,
    so its value depends on the batch size. For the CalAttn code's penalty see mmce-calattn.
    """

    needs = frozenset({"hard-labels", "whole-batch"})
    weight: Annotated[float, Field(ge=0)] = 2.0
    tune_grid = (("weight", (1.0, 2.0, 4.0, 8.0)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The loss of a batch: logits (N, K), labels (N,)."""
        log_p = log_probabilities(outputs)
        nll = cross_entropy_of(log_p, hard_labels(targets))
        return nll + self.weight * weighted_mmce(log_p, targets)


def weighted_mmce(log_p: Tensor, labels: Tensor) -> Tensor:
    """MMCE_w of a batch (see `Mmce`): log-probabilities (N, K) and labels (N,), a scalar in 0..2."""
    top, predicted = log_p.max(dim=1)
    confidence, correct = top.exp(), predicted == labels
    right, wrong = correct.sum(), (~correct).sum()
    # 1 - r by expm1 keeps its digits for confidences near one.
    residual = torch.where(correct, -torch.expm1(top) / right.clamp_min(1), -confidence / wrong.clamp_min(1))
    kernel = torch.exp(-(confidence[:, None] - confidence[None, :]).abs() / 0.4)
    square = (residual[:, None] * residual[None, :] * kernel).sum()
    return safe_root(torch.where((right > 0) & (wrong > 0), square, 0))
