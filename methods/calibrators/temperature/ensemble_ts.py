"""Ensemble temperature scaling: a mixture of the scaled, the raw and the uniform prediction."""

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from scipy.optimize import minimize
from torch import Tensor

from calbench.methods.base import register
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.solvers.newton import optimal_temperature
from calbench.methods.solvers.nll import blocks, in_blocks

MOST_UNIFORM = 0.99
"""The largest weight of the uniform part."""


@register("ensemble-ts", label="ETS", paper="zhang2020mix")
@dataclass
class EnsembleTS(Calibrator):
    """w1 softmax(z / T) + w2 softmax(z) + w3 / K, w on the simplex; T and w minimise the NLL of the calibration split.

    T and w are fitted jointly, from the optimal single temperature on, so that the NLL is never above that of
    temperature scaling; the authors fix T at its value there and fit only w. The uniform part has at most 99 % of the
    weight: at 100 %, the optimum where the model ranks no better than chance, no class would be predicted.

    Zhang, Kailkhura and Han 2020, arXiv 2003.07329.
    """

    keeps_accuracy = True

    def fit(self, logits: Any, labels: Any, sample_weight: Any = None) -> Self:
        """Fit ``temperature_`` and ``weights_`` (3,) on calibration logits (N, K) and labels (N,), weighted or not."""
        start = optimal_temperature(logits, labels, sample_weight)
        raw, _ = _own_log_probabilities(logits, labels, 1.0)
        raw = raw.exp()

        def objective(point: Any) -> tuple[float, Any]:
            temperature = start * float(torch.tensor(point[0]).exp())
            weights = torch.tensor(point[1:], device=logits.device)
            return _value_and_gradient(logits, labels, raw, temperature, weights, sample_weight)

        found = minimize(
            objective,
            [0.0, 0.98, 0.01, 0.01],
            jac=True,
            method="SLSQP",
            bounds=[(-4.0, 4.0), (0.0, 1.0), (0.0, 1.0), (0.0, MOST_UNIFORM)],
            constraints={"type": "eq", "fun": lambda x: x[1:].sum() - 1, "jac": lambda x: [0.0, 1.0, 1.0, 1.0]},
            options={"ftol": 1e-13, "maxiter": 200},
        )
        pure, _ = objective([0.0, 1.0, 0.0, 0.0])
        point = found.x if found.fun <= pure else [0.0, 1.0, 0.0, 0.0]
        self.temperature_ = start * float(torch.tensor(point[0]).exp())
        weights = torch.tensor(point[1:], dtype=torch.float64).clamp_min(0)
        weights[:2] += 1e-12 * (weights[:2].sum() == 0)
        weights[2].clamp_(max=MOST_UNIFORM / (1 - MOST_UNIFORM) * float(weights[:2].sum()))
        self.weights_ = (weights / weights.sum()).to(logits.device)
        return self

    def transform(self, logits: Any) -> Any:
        """Log-probabilities of the mixture (N, K)."""
        return in_blocks(self._map, logits)

    def _map(self, logits: Tensor) -> Tensor:
        exact = logits.double()
        scaled, raw, uniform = self.weights_.to(exact).log().unbind()
        parts = [scaled + (exact / self.temperature_).log_softmax(dim=1), raw + exact.log_softmax(dim=1)]
        even = (uniform - math.log(logits.shape[1])).expand_as(exact)
        return torch.stack([*parts, even]).logsumexp(dim=0).to(logits.dtype)


def _own_log_probabilities(logits: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """The logarithm of softmax(z / T)_y, and its derivative in log T, both (N,) float64."""
    own, slopes = [], []
    for rows in blocks(logits):
        log_probabilities = (logits[rows] / temperature).log_softmax(dim=1)
        label_log = log_probabilities.gather(1, labels[rows, None]).squeeze(1)
        entropy = torch.special.entr(log_probabilities.exp()).sum(dim=1)
        own.append(label_log.double())
        slopes.append((-entropy - label_log).double())
    return torch.cat(own), torch.cat(slopes)


def _value_and_gradient(
    logits: Tensor, labels: Tensor, raw: Tensor, temperature: float, weights: Tensor, of_rows: Tensor | None
) -> tuple[float, list[float]]:
    """The mean NLL of the mixture and its gradient in (log T, w)."""
    own, slope = _own_log_probabilities(logits, labels, temperature)
    parts = torch.stack([own.exp(), raw, torch.full_like(raw, 1 / logits.shape[1])])
    mixture = (weights[:, None] * parts).sum(dim=0).clamp_min(1e-300)
    counts = torch.ones_like(mixture) if of_rows is None else of_rows
    gradient = -(counts * parts / mixture).mean(dim=1)
    slope_t = -(counts * weights[0] * parts[0] * slope / mixture).mean()
    return float(-(counts * mixture.log()).mean()), [float(slope_t), *gradient.tolist()]
