"""Cross-entropy of normalised logits."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional

from calbench.methods.base import Objective, Outputs, register
from calbench.methods.losses._functions import as_distributions, full_precision


@register("logit-norm", label="LogitNorm", paper="wei2022logitnorm")
@dataclass
class LogitNorm(Objective):
    """-log softmax(z / (t |z|))_y with |z| the Euclidean norm of the logits; 1e-7 is added to the norm.

    Wei et al. 2022, arXiv 2205.09310, with their t = 0.04. The norm is taken in training only: as in the authors' code,
    test logits are z itself. Training leaves the length of z free, so its raw confidences mean little, and a
    temperature belongs behind it (``logit-norm + temperature-scaling``).
    """

    temperature: Annotated[float, Field(gt=0)] = 0.04
    tune_grid = (("temperature", (0.01, 0.02, 0.04, 0.1)),)

    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch: logits (N, K); targets (N,) or (N, K)."""
        logits = full_precision(outputs.logits)
        scaled = logits / ((logits.norm(dim=1, keepdim=True) + 1e-7) * self.temperature)
        return functional.cross_entropy(scaled, targets if targets.ndim == 1 else as_distributions(targets, scaled))
