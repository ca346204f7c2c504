"""Checkpoint rules: which epoch of a run is evaluated."""

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

SCORES = {"best-nll": ("nll", -1.0), "best-accuracy": ("accuracy", 1.0), "best-ece": ("ece", -1.0)}
"""Rule to the calibration-split metric that it follows and the sign that makes larger better."""


@dataclass
class Checkpoints:
    """Keeps the weights of the best epoch for every rule that needs it; ``last`` needs none.

    On ties the earlier epoch stays, as in the released code of the papers that select.
    """

    rules: tuple[str, ...]
    best: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def following(self) -> list[str]:
        """The rules that have to be watched every epoch."""
        return [rule for rule in self.rules if rule in SCORES]

    def update(self, epoch: int, metrics: dict[str, float], model: nn.Module) -> None:
        """Look at the metrics of an epoch's calibration split and keep the weights where they are the best so far."""
        for rule in self.following:
            metric, sign = SCORES[rule]
            score = sign * metrics[metric]
            if rule not in self.best or score > self.best[rule]["score"]:
                weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
                self.best[rule] = {"score": score, "epoch": epoch, "weights": weights}

    def weights(self, rule: str) -> dict[str, Tensor] | None:
        """The weights that `rule` chose, or None for the model as it is."""
        return self.best[rule]["weights"] if rule in self.best else None

    def epochs(self, last: int) -> dict[str, int]:
        """The epoch that each rule chose."""
        return {rule: self.best[rule]["epoch"] if rule in self.best else last for rule in self.rules}
