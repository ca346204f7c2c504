"""Stochastic weight averaging."""

import copy
import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from calbench.methods.base import register
from calbench.methods.running import Procedure, ProcedureState, Run


@register("swa", label="SWA", paper="izmailov2018averaging")
@dataclass
class WeightAveraging(Procedure):
    """w_SWA = 1/n sum_i w_i over the weights w_i at the end of the last n epochs, trained at a constant rate.

    The schedule of the suite runs until the share ``start_at`` of the epochs; from there the learning rate is ``lr``
    times the peak rate, and the average that is evaluated begins. The statistics of batch norm are computed again for
    the average, in one pass over the training images: those of the last epoch belong to other weights. Other buffers
    are those of the last epoch.

    Izmailov et al. 2018, arXiv 1803.05407, algorithm 1 with cycles of one epoch. The authors' commands start after half
    to 0.55 of the epochs, with rates of 0.1 to 0.5 of the peak rate; here an averaged run has as many epochs as any
    other, so it starts at three quarters.
    """

    start_at: Annotated[float, Field(gt=0, lt=1)] = 0.75
    lr: Annotated[float, Field(gt=0)] = 0.5
    tune_grid = (("lr", (0.05, 0.1, 0.2, 0.5)),)

    def start(self, run: Run) -> ProcedureState:
        """No weights are averaged yet."""
        first = min(run.epochs - 1, math.ceil(run.epochs * self.start_at))
        return _State(first, first * run.updates_per_epoch, run.learning_rate * self.lr)


class _State(ProcedureState):
    def __init__(self, first: int, first_update: int, rate: float) -> None:
        self.first, self.first_update, self.rate = first, first_update, rate
        self.count = 0
        self.average: nn.Module | None = None

    def learning_rate(self, update: int) -> float | None:
        """A constant rate once averaging begins."""
        return self.rate if update >= self.first_update else None

    def end_epoch(self, epoch: int, model: nn.Module) -> None:
        """Add the weights of `model` to the average."""
        if epoch <= self.first:
            return
        if self.average is None:
            self.average = copy.deepcopy(model)
        self.count += 1
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), model.parameters(), strict=True):
                mean.lerp_(value.detach(), 1 / self.count)
            for kept, value in zip(self.average.buffers(), model.buffers(), strict=True):
                kept.copy_(value)

    @property
    def evaluated(self) -> nn.Module | None:
        """The averaged network, once there is one."""
        return self.average

    def tensors(self) -> dict[str, Tensor]:
        """The average, with the number of its members."""
        weights = {} if self.average is None else self.average.state_dict()
        return {"count": torch.tensor(self.count), **{f"average.{name}": value for name, value in weights.items()}}

    def load(self, tensors: dict[str, Tensor], model: nn.Module) -> None:
        """Go on from a saved average."""
        self.count = int(tensors["count"])
        if self.count:
            self.average = copy.deepcopy(model)
            prefix = "average."
            weights = {name.removeprefix(prefix): v for name, v in tensors.items() if name.startswith(prefix)}
            self.average.load_state_dict(weights)
