"""Checkpoint rules: which epoch of a run is evaluated."""

from dataclasses import dataclass, field
from typing import TypedDict, cast

import torch
from torch import Tensor, nn

from calbench.benchmark.config.training import CheckpointRule, followed_metric
from calbench.benchmark.metrics.base import better_direction, cost


class Kept(TypedDict):
    """The best epoch so far by one rule; plain data, since it is part of a running cell's saved state.

    ``score`` is the metric, with the sign that makes larger better; ``weights`` are those of the evaluated model.
    """

    score: float
    epoch: int
    weights: dict[str, Tensor]


@dataclass
class Checkpoints:
    """Keeps the weights of the best epoch for every rule that needs it; ``last`` needs none.

    On ties the earlier epoch stays, as in the released code of the papers that select.
    """

    rules: tuple[CheckpointRule, ...]
    best: dict[CheckpointRule, Kept] = field(default_factory=dict)

    @property
    def following(self) -> list[CheckpointRule]:
        """The rules that have to be watched every epoch."""
        return [rule for rule in self.rules if followed_metric(rule)]

    def update(self, epoch: int, metrics: dict[str, float], model: nn.Module) -> None:
        """Look at the metrics of an epoch's calibration split and keep the weights where they are the best so far."""
        for rule in self.following:
            metric = cast("str", followed_metric(rule))
            score = -cost(metrics[metric], better_direction(metric))
            if rule not in self.best or score > self.best[rule]["score"]:
                weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
                self.best[rule] = {"score": score, "epoch": epoch, "weights": weights}

    def restore(self, best: dict[CheckpointRule, Kept], device: torch.device) -> None:
        """Go on from the `best` of a saved state, with the weights on `device`."""
        self.best = {
            rule: {**kept, "weights": {name: tensor.to(device) for name, tensor in kept["weights"].items()}}
            for rule, kept in best.items()
        }

    def weights(self, rule: CheckpointRule) -> dict[str, Tensor] | None:
        """The weights that `rule` chose, or None for the model as it is."""
        return self.best[rule]["weights"] if rule in self.best else None

    def epochs(self, last: int) -> dict[CheckpointRule, int]:
        """The epoch that each rule chose."""
        return {rule: self.best[rule]["epoch"] if rule in self.best else last for rule in self.rules}
