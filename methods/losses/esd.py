"""Cross-entropy with the expected squared difference of confidence and accuracy."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import cross_entropy_of, hard_labels, log_probabilities


@register("esd", label="ESD", paper="yoon2023esd")
@dataclass
class ExpectedSquaredDifference(Objective):
    """-log p_y + weight / N sum_i (g_i^2 - S_i^2 / (N - 1)), g_i the mean over j != i of [r_j <= r_i] (c_j - r_j).

    r is the confidence, c_j = [argmax p_j = y_j]; S_i^2 is the unbiased variance of the same terms, whose subtraction
    makes the estimate of E[(E[c - r; r <= r_i])^2] unbiased, so that it can be negative. No bins and no kernel width.
    The indicator has no gradient. Below three samples only -log p_y counts. Computed on half batches in the paper,
    here on whole ones; its value depends on the batch.

    Yoon et al. 2023, arXiv 2303.02472, checked against the authors' code.
    """

    needs = frozenset({"hard-labels", "whole-batch"})
    weight: Annotated[float, Field(ge=0)] = 1.0
    tune_grid = (("weight", (0.5, 1.0, 2.0, 5.0)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The loss of a batch: logits (N, K), labels (N,)."""
        log_p = log_probabilities(outputs)
        nll = cross_entropy_of(log_p, hard_labels(targets))
        count = len(log_p)
        if count < 3:
            return nll
        top, predicted = log_p.max(dim=1)
        confidence = top.exp()
        below = (confidence[None, :] <= confidence[:, None]).to(log_p.dtype)
        below.fill_diagonal_(0)
        terms = below * ((predicted == targets).to(log_p.dtype) - confidence)
        mean = terms.sum(dim=1) / (count - 1)
        variance = (terms.square().sum(dim=1) - (count - 1) * mean.square()) / (count - 2)
        return nll + self.weight * (mean.square() - variance / (count - 1)).mean()
