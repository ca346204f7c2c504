"""Beta calibration, one-vs-rest."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import register
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.calibrators._one_vs_rest import renormalised_log
from calbench.methods.solvers.logistic import fit_logistic
from calbench.methods.solvers.newton import optimal_temperature, power_of_ten
from calbench.methods.solvers.nll import in_blocks

LOWEST = -100.0
CHUNK_ELEMENTS = 200_000
"""Samples times classes that are fitted at once."""


@register("beta", label="Beta", paper="kull2017beta")
@dataclass
class Beta(Calibrator):
    """q_k = sigmoid(a_k log p_k - b_k log(1 - p_k) + c_k), with a_k, b_k >= 0, minimising the log loss of each class.

    One-vs-rest, renormalised; of the convex problem of each class the optimum. Both logarithms are taken from the
    logits, so that they are exact where p_k rounds to 0 or 1, and floored at -100. Where the optimal single
    temperature is outside 0.1..10, p is softmax(z / ``unit_``), with ``unit_`` that temperature's power of ten.

    Kull, Silva Filho and Flach 2017.
    """

    max_classes: Annotated[int, Field(ge=2)] = 300

    growth = "fits one curve per class"

    def fit(self, logits: Any, labels: Any, sample_weight: Any = None) -> Self:
        """Fit ``coefficients_`` (K, 3), of log p, -log(1 - p) and one, on logits (N, K), labels and weights (N,)."""
        self.unit_ = power_of_ten(optimal_temperature(logits, labels, sample_weight))
        features = _features(logits / self.unit_)
        size = max(1, CHUNK_ELEMENTS // len(logits))
        parts = []
        for classes in torch.arange(logits.shape[1], device=logits.device).split(size):
            parts.append(_fit_classes(features[:, :, classes], labels[:, None] == classes, sample_weight))
        self.coefficients_ = torch.cat(parts)
        return self

    def transform(self, logits: Any) -> Any:
        """Log-probabilities (N, K), floored so that they are finite."""
        return in_blocks(self._map, logits)

    def _map(self, logits: Tensor) -> Tensor:
        a, b, c = self.coefficients_.to(logits.device).unbind(dim=1)
        log_p, minus_log_rest = _features(logits / self.unit_).unbind(dim=0)
        return renormalised_log(torch.sigmoid(a * log_p + b * minus_log_rest + c)).to(logits.dtype)


def _features(logits: Tensor) -> Tensor:
    """The logarithms log p and -log(1 - p) of every class, (2, N, K) float64."""
    log_p = logits.double().log_softmax(dim=1)
    top = log_p.argmax(dim=1, keepdim=True)
    rest_of_top = log_p.scatter(1, top, -torch.inf).logsumexp(dim=1, keepdim=True)
    log_rest = torch.log1p(-log_p.exp()).scatter(1, top, rest_of_top)
    return torch.stack([log_p.clamp_min(LOWEST), -log_rest.clamp_min(LOWEST)])


def _fit_classes(features: Tensor, hits: Tensor, weights: Tensor | None) -> Tensor:
    """The coefficients a, b, c (C, 3) of the least log loss with a, b >= 0, from features (2, N, C) and hits (N, C).

    The loss is convex, so the optimum is the best of those with each set of terms whose coefficients are not negative.
    """
    best = torch.full((hits.shape[1],), torch.inf, dtype=torch.float64, device=hits.device)
    coefficients = torch.zeros(hits.shape[1], 3, dtype=torch.float64, device=hits.device)
    for used in ([0, 1], [0], [1], []):
        found, loss = fit_logistic(features[used], hits, weights)
        better = (found[:, :-1] >= 0).all(dim=1) & (loss < best)
        best = torch.where(better, loss, best)
        full = torch.zeros_like(coefficients)
        full[:, [*used, 2]] = found
        coefficients = torch.where(better[:, None], full, coefficients)
        if used == [0, 1] and bool(better.all()):
            break
    return coefficients
