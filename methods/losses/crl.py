"""Correctness ranking loss."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from calbench.methods.base import Outputs, register
from calbench.methods.losses._functions import cross_entropy_of, hard_labels, log_probabilities
from calbench.methods.running import LossState, Run, StatefulObjective


@register("crl", label="CRL", paper="moon2020crl")
@dataclass
class CorrectnessRanking(StatefulObjective):
    """-log p_y + weight / N sum_i relu(|c_i - c_j| - sgn(c_i - c_j) (q_i - q_j)), q the confidence, j the next sample.

    c_i is the share of past epochs in which sample i was predicted correctly, rescaled so that the smallest of all
    samples is 0; pairs with equal c cost nothing. Pairs are neighbours in the batch, the last with the first. In the
    first epoch there is no history, and the loss is cross-entropy.

    Moon et al. 2020, arXiv 2007.01458, equations 2 to 4, with the maximum class probability as confidence and weight 1.
    The authors' code divides by the number of past epochs less the smallest count, which is 0 / 0 where every sample
    was always predicted correctly; here c is 0 then.
    """

    needs = frozenset({"hard-labels", "whole-batch"})
    weight: Annotated[float, Field(ge=0)] = 1.0
    tune_grid = (("weight", (0.3, 0.5, 1.0, 2.0)),)

    def start(self, run: Run) -> LossState:
        """No sample was predicted yet."""
        return _History(self.weight, run.num_samples)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch of the first epoch: logits (N, K), labels (N,)."""
        return cross_entropy_of(log_probabilities(outputs), hard_labels(targets))


class _History(LossState):
    """How often every sample was predicted correctly, and in how many epochs."""

    def __init__(self, weight: float, num_samples: int) -> None:
        self.weight = weight
        self.correct = torch.zeros(num_samples, dtype=torch.int64)
        self.epochs = 0

    def loss(self, outputs: Outputs, targets: Tensor, samples: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K), labels (N,), numbers of the samples (N,)."""
        log_p = log_probabilities(outputs)
        confidence = log_p.amax(dim=1).exp()
        share = self.shares(samples).to(confidence)
        gap = share - share.roll(-1)
        ranking = functional.relu(gap.abs() - gap.sign() * (confidence - confidence.roll(-1)))
        return cross_entropy_of(log_p, hard_labels(targets)) + self.weight * (ranking * (gap != 0)).mean()

    def shares(self, samples: Tensor) -> Tensor:
        """The c of some samples, float64."""
        least = int(self.correct.min())
        return (self.correct[samples] - least).double() / max(1, self.epochs - least)

    def observe(self, logits: Tensor, targets: Tensor, samples: Tensor) -> None:
        """Count the correct predictions of a batch."""
        self.correct[samples] += (logits.argmax(dim=1) == targets).cpu()

    def end_epoch(self, epoch: int, calibration: tuple[Tensor, Tensor] | None) -> None:
        """One more epoch in which every sample was predicted once."""
        self.epochs = epoch

    def tensors(self) -> dict[str, Tensor]:
        """The counts."""
        return {"correct": self.correct, "epochs": torch.tensor(self.epochs)}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from saved counts."""
        self.correct, self.epochs = tensors["correct"], int(tensors["epochs"])
