"""Entropy-based temperature scaling: two parameters."""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional

from calbench.methods.base import register
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.solvers.few_parameters import minimise_rows
from calbench.methods.solvers.newton import optimal_temperature
from calbench.methods.solvers.nll import in_blocks

LOWEST = -30.0
"""The floor of log H: an entropy of 1e-13 of log K and less is all the same to float32 logits."""


@register("hts", label="HTS", paper="balanya2024adaptive")
@dataclass
class EntropyTS(Calibrator):
    """softmax(z / T(z)), T(z) = T0 softplus(w log(H(z) / log K) + b), H the entropy of softmax(z), minimising the NLL.

    Two parameters, so it can be fitted on a few hundred samples. T0 is the optimal single temperature, from which the
    fit starts (w = 0, softplus(b) = 1), and which makes the fit the same at any magnitude of the logits. log H is
    floored at -30.

    Balanya, Maroñas and Ramos 2024, arXiv 2208.00461 (HTS; its linear form LTS reads all logits), checked against
    public code by the authors, which also divides the entropy by log K and has no T0.
    """

    keeps_accuracy = True

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``scale_``, ``slope_`` and ``offset_`` on calibration logits (N, K) and labels (N,)."""
        self.scale_ = optimal_temperature(logits, labels)
        entropies = in_blocks(log_entropy, logits)

        def loss(point: Tensor, rows: slice) -> Tensor:
            factors = functional.softplus(point[0] * entropies[rows] + point[1]).clamp_min(1e-3)
            return functional.cross_entropy(
                logits[rows].double() / (self.scale_ * factors)[:, None], labels[rows], reduction="none"
            )

        point = minimise_rows(loss, torch.tensor([0.0, math.log(math.e - 1)]), logits)
        self.slope_, self.offset_ = point.tolist()
        return self

    def transform(self, logits: Any) -> Any:
        """Logits over the temperature of each sample (N, K)."""
        factors = functional.softplus(self.slope_ * in_blocks(log_entropy, logits) + self.offset_).clamp_min(1e-3)
        return logits / (self.scale_ * factors)[:, None].to(logits.dtype)


def log_entropy(logits: Tensor) -> Tensor:
    """log(H / log K) of softmax(z), H the entropy: (N,) float64, floored, for logits (N, K)."""
    log_p = logits.double().log_softmax(dim=1)
    entropy = -(log_p.exp() * log_p).sum(dim=1) / math.log(logits.shape[1])
    return entropy.clamp_min(math.exp(LOWEST)).log()
