"""Cross-entropy with the soft-binned expected calibration error of the batch."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import cross_entropy_of, hard_labels, log_probabilities, safe_root


@register("soft-binned-ece", label="SB-ECE", paper="karandikar2021soft")
@dataclass
class SoftBinnedEce(Objective):
    """-log p_y + weight sqrt(sum_b m_b / N (A_b - C_b)^2), over bins with soft members u.

    u_ib = softmax_b(-(r_i - c_b)^2 / temperature) for the confidence r_i and the bin centres c_b; m_b = sum_i u_ib, and
    C_b and A_b are the mean confidence and accuracy under u_b. Karandikar et al. 2021, arXiv 2108.00106, equation 11,
    who tune weight, bins and temperature. The second term is a property of the batch, so its value depends on the batch
    size. Below 1e-6 it counts as 0, for the gradient of the root is infinite at 0.
    """

    needs = frozenset({"hard-labels", "whole-batch"})
    weight: Annotated[float, Field(ge=0)] = 1.0
    bins: Annotated[int, Field(ge=1)] = 15
    temperature: Annotated[float, Field(gt=0)] = 0.01
    tune_grid = (("weight", (0.5, 1.0, 2.0, 5.0)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The loss of a batch: logits (N, K), labels (N,)."""
        log_p = log_probabilities(outputs)
        nll = cross_entropy_of(log_p, hard_labels(targets))
        top, predicted = log_p.max(dim=1)
        confidence = top.exp()
        centres = (torch.arange(self.bins, dtype=log_p.dtype, device=log_p.device) + 0.5) / self.bins
        members = (-(confidence[:, None] - centres).square() / self.temperature).softmax(dim=1)
        gap = (predicted == targets).to(log_p.dtype) - confidence
        # m_b (A_b - C_b)^2 = (sum_i u_ib gap_i)^2 / m_b; a bin without members has a gap of zero.
        mass = members.sum(dim=0).clamp_min(torch.finfo(log_p.dtype).tiny)
        square = ((members * gap[:, None]).sum(dim=0).square() / mass).sum() / len(gap)
        return nll + self.weight * safe_root(square)
