"""Calibration by pairwise constraints."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import cross_entropy_of, full_precision, hard_labels

MOST_ELEMENTS = 16_000_000
"""Differences of logits held at a time; more are computed again in the backward pass."""


@register("cpc", label="CPC", paper="cheng2022calibrating")
@dataclass
class PairwiseConstraints(Objective):
    """-log p_y - a mean_{j != y} log s(z_y - z_j) - b mean_{i != j, both != y} log s(z_i - z_j).

    s is the sigmoid, so s(z_i - z_j) = p_i / (p_i + p_j); a is ``discrimination``, b is ``exclusion``. The first
    constraint discriminates the label from every other class; the second asks of every pair of other classes that none
    is preferred, at 1/2 each. The second has N K^2 terms: it is computed in blocks, whose memory does not grow with
    K^2. With two classes it has no pairs.

    Cheng and Vasconcelos 2022; the paper tunes both weights.

    Verified against the paper's abstract and the code of CALS (Liu 2023), which compares with it; the full text was
    not read and code of the paper's authors was not found. That of CALS halves the second term, counts the pairs i = j
    in it (a constant), and has the weights 0.1 and 1.
    """

    needs = frozenset({"hard-labels"})
    discrimination: Annotated[float, Field(ge=0)] = 0.1
    exclusion: Annotated[float, Field(ge=0)] = 0.1
    tune_grid = (("discrimination", (0.03, 0.1, 0.3, 1.0)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K), labels (N,)."""
        logits = full_precision(outputs.logits)
        rows, classes = logits.shape
        own = logits.gather(1, hard_labels(targets)[:, None])
        others = torch.ones_like(logits).scatter(1, targets[:, None], 0.0)
        first = (functional.softplus(logits - own) * others).sum() / (rows * (classes - 1))
        second = _exclusion(logits, others) / (rows * max(1, (classes - 1) * (classes - 2)))
        nll = cross_entropy_of(logits.log_softmax(dim=1), targets)
        return nll + self.discrimination * first + self.exclusion * second


def _exclusion(logits: Tensor, others: Tensor) -> Tensor:
    """The sum over samples and ordered pairs i != j of classes in `others` (N, K) of softplus(z_j - z_i)."""
    step = max(1, MOST_ELEMENTS // logits.numel())
    total = logits.new_zeros(())
    for start in range(0, logits.shape[1], step):
        part = slice(start, start + step)
        arguments = (logits[:, part], others[:, part], logits, others)
        whole = step >= logits.shape[1]
        total = total + (_pairs(*arguments) if whole else checkpoint(_pairs, *arguments, use_reentrant=False))
    return total - others.sum() * torch.log(torch.tensor(2.0, dtype=logits.dtype))  # the pairs i = j


def _pairs(some: Tensor, of_some: Tensor, logits: Tensor, others: Tensor) -> Tensor:
    terms = functional.softplus(logits[:, None, :] - some[:, :, None])
    return (terms * (of_some[:, :, None] * others[:, None, :])).sum()
