"""MMCE as the released codes compute it."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import cross_entropy_of, hard_labels, log_probabilities, safe_root


@register("mmce-code", label="MMCE (code)", paper="kumar2018trainable")
@dataclass
class MmceCode(Objective):
    """-log p_y + weight MMCE', as the codes of Kumar 2018 and Mukhoti 2020 compute the loss `mmce`.

    They normalise twice: each of the three sums over pairs is a mean, and is divided by the number of pairs once more,

        MMCE'^2 = S_cc / n^4 + S_ww / m^4 - 2 S_cw / (n m)^2

    with n correct and m wrong samples in the batch, and S the sums of the published MMCE_w^2 before its own division
    by n^2, m^2 and n m. So the penalty is smaller than the published one by a factor of about the number of correct
    and wrong samples (28 at a batch of 128), and falls with the batch size. Published numbers of MMCE were made with
    it; at its weight of 2 the published formula costs accuracy. No penalty without a correct or without a wrong
    sample. Their constants of 1e-5 and 1e-10 against division by 0 are left out.
    """

    needs = frozenset({"hard-labels", "whole-batch"})
    weight: Annotated[float, Field(ge=0)] = 2.0
    tune_grid = (("weight", (1.0, 2.0, 4.0, 8.0)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The loss of a batch: logits (N, K), labels (N,)."""
        log_p = log_probabilities(outputs)
        nll = cross_entropy_of(log_p, hard_labels(targets))
        top, predicted = log_p.max(dim=1)
        correct = predicted == targets
        right, wrong = correct.sum(), (~correct).sum()
        residual = torch.where(
            correct, -torch.expm1(top) / right.clamp_min(1).square(), -top.exp() / wrong.clamp_min(1).square()
        )
        kernel = torch.exp(-(top.exp()[:, None] - top.exp()[None, :]).abs() / 0.4)
        square = (residual[:, None] * residual[None, :] * kernel).sum()
        return nll + self.weight * safe_root(torch.where((right > 0) & (wrong > 0), square, 0))
