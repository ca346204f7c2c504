"""The robust loss of TempNet."""

import math
from dataclasses import dataclass
from typing import Annotated, cast

from pydantic import Field
from torch import Tensor

from calbench.methods.base import Objective, Outputs, register, require
from calbench.methods.losses._functions import as_distributions, full_precision
from calbench.methods.solvers.temperature_network import robust_loss


@register("tempnet-dro", label="DRO", paper="qiu2024cool")
@dataclass
class TempNetDro(Objective):
    """tau CE(z / tau, y) + (rho - log K) tau, z the classifier's logits and tau the head's temperature.

    The KL-constrained distributionally robust loss of Qiu et al. 2024, arXiv 2404.04575: the loss of the head tempnet.
    Its minimum over tau has softmax(z / tau) at the entropy log K - rho, whatever the label, so `rho` has to fit K.
    ``rho=None`` means 0.9 log K; the authors' radii for language models are 0.82 to 0.96 log K. A distribution as
    target enters the cross-entropy. No default grid: rho is in nats and would need other values for every K.
    """

    needs = frozenset({"temperature"})

    rho: Annotated[float, Field(ge=0)] | None = None

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K); targets (N,) or (N, K).

        Raises:
            InputError: the recipe has no head that gives a temperature, or rho exceeds log K.
        """
        require(outputs.temperature is not None, "tempnet-dro needs a head with a temperature, such as tempnet")
        raw = full_precision(outputs.raw_logits)
        largest = math.log(raw.shape[1])
        rho = 0.9 * largest if self.rho is None else self.rho
        require(rho <= largest, f"tempnet-dro: rho={rho} exceeds log K = {largest:.3f}")
        targets = targets if targets.ndim == 1 else as_distributions(targets, raw)
        return robust_loss(raw, targets, full_precision(cast("Tensor", outputs.temperature)), rho)
