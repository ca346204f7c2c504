"""The loss that the code of CalAttn calls MMCE."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import cross_entropy_of, hard_labels, log_probabilities


@register("mmce-calattn", label="MMCE (CalAttn code)", paper="liang2026calattn")
@dataclass
class MmceCalAttn(Objective):
    """-log p_y + weight / N^2 sum_ij (c_i - r_i)(c_j - r_j) exp(-(r_i - r_j)^2 / (2 * 0.4^2)).

    c is 1 for correct samples and 0 for wrong ones, r the confidence. The "MMCE" of the released code of Liang et al.
    2026: a Gaussian kernel, no square root, weight 0.1, so nearly plain cross-entropy; for tables that reproduce it.
    The published loss is mmce.
    """

    needs = frozenset({"hard-labels", "whole-batch"})
    weight: Annotated[float, Field(ge=0)] = 0.1
    tune_grid = (("weight", (0.03, 0.1, 1.0, 2.0)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The loss of a batch: logits (N, K), labels (N,)."""
        log_p = log_probabilities(outputs)
        nll = cross_entropy_of(log_p, hard_labels(targets))
        top, predicted = log_p.max(dim=1)
        confidence = top.exp()
        residual = (predicted == targets).to(log_p.dtype) - confidence
        kernel = torch.exp(-(confidence[:, None] - confidence[None, :]).square() / (2 * 0.4**2))
        return nll + self.weight * (residual[:, None] * residual[None, :] * kernel).mean()
