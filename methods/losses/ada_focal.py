"""The focal loss whose gamma follows the calibration split."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import Outputs, register
from calbench.methods.losses._functions import focal_term, hard_labels, log_probabilities
from calbench.methods.running import LossState, Run, StatefulObjective

FIRST, SWITCH = 1.0, 0.2
"""The gamma of the first epoch, and the absolute value below which gamma changes its sign."""


@register("ada-focal", label="AdaFocal", paper="ghosh2022adafocal")
@dataclass
class AdaFocal(StatefulObjective):
    """-(1 - p_y)^g log p_y where g > 0, -(1 + p_y)^|g| log p_y where g < 0, with a gamma g_b per bin of p_y.

    After every epoch g_b <- g_b exp(rate sgn(g_b) (C_b - A_b)), C_b and A_b mean confidence and accuracy of the
    calibration split in bin b of ``bins`` bins of equal mass, whose edges the training samples are sorted by next. A
    gamma below 0.2 in absolute value becomes 0.2 with the other sign: focal and inverse focal loss change over there.
    It is kept within ``least`` and ``most``. The first epoch has gamma 1.

    Ghosh, Schaaf and Gormley 2022, arXiv 2211.11838, with the settings of the authors' code (checked against it), which
    sums the loss over the batch (its learning rate fits that); here it is the mean. The calibration split takes part in
    training.
    """

    needs = frozenset({"hard-labels"})
    reads_calibration: ClassVar[bool] = True
    rate: Annotated[float, Field(gt=0)] = 1.0
    bins: Annotated[int, Field(ge=1)] = 15
    least: Annotated[float, Field(lt=0)] = -2.0
    most: Annotated[float, Field(gt=0)] = 20.0
    tune_grid = (("rate", (0.5, 1.0, 2.0, 4.0)),)

    def start(self, run: Run) -> LossState:
        """Gamma 1 in all bins, of equal width."""
        return _Gammas(self)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch of the first epoch: logits (N, K), labels (N,)."""
        log_p = log_probabilities(outputs).gather(1, hard_labels(targets)[:, None])
        return focal_term(log_p, FIRST).mean()


class _Gammas(LossState):
    def __init__(self, options: AdaFocal) -> None:
        self.options = options
        self.gammas = torch.full((options.bins,), FIRST, dtype=torch.float64)
        self.edges = torch.linspace(0, 1, options.bins + 1, dtype=torch.float64)[1:-1]

    def loss(self, outputs: Outputs, targets: Tensor, samples: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K), labels (N,)."""
        log_p = log_probabilities(outputs).gather(1, hard_labels(targets)[:, None]).squeeze(1)
        p = log_p.detach().exp()
        place = torch.searchsorted(self.edges.to(p), p, right=True)
        gamma = self.gammas.to(p)[place]
        inverse = -((1 + log_p.exp()) ** gamma.abs()) * log_p
        return torch.where(gamma > 0, focal_term(log_p, gamma.abs()), inverse).mean()

    def end_epoch(self, epoch: int, calibration: tuple[Tensor, Tensor] | None) -> None:
        """Follow the gap between confidence and accuracy in every bin."""
        if calibration is None:
            return
        logits, labels = calibration
        confidence, predicted = logits.double().softmax(dim=1).max(dim=1)
        order = confidence.argsort(stable=True)
        confidence, hits = confidence[order], (predicted == labels)[order].double()
        bins = self.options.bins
        starts = [len(order) * b // bins for b in range(bins + 1)]
        for b, (first, last) in enumerate(pairwise(starts)):
            gap = float((confidence[first:last] - hits[first:last]).mean()) if last > first else 0.0
            self.gammas[b] = self._next(float(self.gammas[b]), gap)
        if bins > 1:
            self.edges = torch.stack([confidence[start] for start in starts[1:-1]])

    def _next(self, gamma: float, gap: float) -> float:
        moved = gamma * math.exp(self.options.rate * math.copysign(1.0, gamma) * gap)
        if abs(moved) < SWITCH:
            moved = -math.copysign(SWITCH, moved)
        return min(max(moved, self.options.least), self.options.most)

    def tensors(self) -> dict[str, Tensor]:
        """Gammas and edges of the bins."""
        return {"gammas": self.gammas, "edges": self.edges}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from saved gammas."""
        self.gammas, self.edges = tensors["gammas"], tensors["edges"]
