"""TempNet trained with the backbone: a temperature per sample from the logits, by a robust loss."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor

from calbench.methods.base import BackboneInfo, Head, HeadModule, Objective, Representation, register, registry, require
from calbench.methods.heads._divide import divide_by
from calbench.methods.solvers.temperature_network import TemperatureNetwork


@register("tempnet", label="TempNet", paper="qiu2024cool")
@dataclass
class TempNet(Head):
    """logits / tau with tau in tau_min..tau_max from a small network of the l2-normalised logits, trained jointly.

    x = z / |z|_2; u = Linear(dropout(sigmoid(Linear(x)))); w = softmax(u / exp(theta));
    tau = (tau_max - tau_min) sigmoid(a . ((w - 1/d) u) + b) + tau_min. Qiu et al. 2024, arXiv 2404.04575; hidden,
    dropout, tau_min and tau_max as in the authors' code for training from scratch, where too the network reads the
    logits detached: the loss trains the backbone through z / tau, not through tau(z).

    The default objective is tempnet-dro with this head's `rho`; with any other objective `rho` has no effect.
    ``rho=None`` means 0.9 log K (see tempnet-dro).
    """

    rho: Annotated[float, Field(ge=0)] | None = None
    tau_min: Annotated[float, Field(gt=0)] = 0.5
    tau_max: Annotated[float, Field(gt=0)] = 5.0
    hidden: Annotated[int, Field(ge=1)] = 256
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    tune_grid = (("tau_max", (2.0, 3.0, 5.0, 10.0)),)

    def __post_init__(self) -> None:
        """Check the options, and that the bounds of the temperature are in order."""
        super().__post_init__()
        require(self.tau_min < self.tau_max, f"tempnet: tau_min={self.tau_min} is not below tau_max={self.tau_max}")

    def default_objective(self) -> Objective:
        """The robust loss with this head's radius."""
        return registry.create("tempnet-dro", rho=self.rho)

    def build(self, backbone: BackboneInfo, num_classes: int) -> HeadModule:
        """Make the module for logits of `num_classes` classes; the backbone does not matter to it."""
        return TempNetModule(
            TemperatureNetwork(num_classes, self.hidden, self.tau_min, self.tau_max, dropout=self.dropout)
        )


class TempNetModule(HeadModule):
    """The head that `TempNet` describes."""

    def __init__(self, temperature: TemperatureNetwork) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, representation: Representation) -> tuple[Tensor, Tensor]:
        """Return logits / tau (N, K) and tau (N,)."""
        return divide_by(self.temperature, representation.logits.detach(), representation.logits)
