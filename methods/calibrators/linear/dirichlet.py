"""Dirichlet calibration: a full matrix on the log-probabilities, with off-diagonal and intercept regularisation."""

import warnings
from dataclasses import dataclass
from typing import Annotated, Any, Self, cast

import torch
from pydantic import Field
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from calbench.methods.base import register
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.solvers.matrix_fit import choose_strength, fit_matrix, scaled_identity
from calbench.methods.solvers.newton import optimal_temperature, power_of_ten

DIAGONAL = 1e-2
"""Strength, per N, of the pull on the diagonal: a hundredth of a sample. With less, a class that the calibration split
separates dominates the choice of the strength (CIFAR-100, 50 rows per class: NLL 1.15 for 0.86)."""

UNBOUNDED = 5.0
"""Times the weight of temperature scaling from which on a class's weight is a sign of separation."""


@register("dirichlet", label="Dirichlet (ODIR)", paper="kull2019beyond")
@dataclass
class Dirichlet(Calibrator):
    """softmax(W log p + b), with W (K, K) and b (K,) minimising the NLL plus ODIR.

    ODIR is off_diagonal / (K (K - 1)) sum_{i != j} W_ij^2 + intercept / K sum b^2. The paper chooses the strengths by
    cross-validation; a strength that is not given is chosen, the same for both, by the NLL of a fifth of each class
    after a fit on the other rows, and is kept as ``strength_``. No default grid: the NLL of the split that W was fitted
    on would choose the weakest. Log-probabilities are floored at -100. Strengths and
    floor are made for temperatures near 1: where the optimal single temperature is outside 0.1..10, p is softmax(z /
    ``unit_``), with ``unit_`` that temperature's power of ten.

    ODIR leaves the diagonal free, so that it would grow without bound for a class that the split separates. It is
    pulled towards that of temperature scaling by 0.01 / (2 N) sum_k (T W_kk - 1)^2, a hundredth of a sample.

    Kull et al. 2019, arXiv 1910.12656.
    """

    off_diagonal: Annotated[float, Field(ge=0)] | None = None
    intercept: Annotated[float, Field(ge=0)] | None = None

    max_classes: Annotated[int, Field(ge=2)] = 300

    needs = frozenset({"more-samples-than-classes"})
    growth = "fits a matrix of K x K numbers"

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``weight_`` (K, K) and ``bias_`` (K,) on calibration logits (N, K) and labels (N,)."""
        temperature = optimal_temperature(logits, labels)
        self.unit_ = power_of_ten(temperature)
        logits = logits / self.unit_
        centre = self.unit_ / temperature
        start = scaled_identity(logits, centre)
        pull = {"diagonal": DIAGONAL / len(logits) / centre**2, "centre": centre}
        off_diagonal, intercept = self.off_diagonal, self.intercept
        if off_diagonal is None or intercept is None:
            self.strength_ = choose_strength(logits, labels, log_probabilities, start, **pull)
            off_diagonal = self.strength_ if off_diagonal is None else off_diagonal
            intercept = self.strength_ if intercept is None else intercept
        penalties = {"off_diagonal": off_diagonal, "intercept": intercept} | pull
        solution = fit_matrix(logits, labels, log_probabilities, start, **cast("Any", penalties))
        if not solution.converged:
            warnings.warn("dirichlet: stopped short of the optimum", ConvergenceWarning, stacklevel=3)
        largest = float(solution.point.diagonal().max()) / centre
        if largest > UNBOUNDED:
            reason = f"its weight grew {largest:.0f}-fold, as far as the bound on it allows"
            message = f"dirichlet: the calibration split separates a class, or nearly so: {reason}"
            warnings.warn(message, ConvergenceWarning, stacklevel=3)
        matrix = solution.point.to(logits.dtype)
        self.weight_, self.bias_ = matrix[:, :-1].contiguous(), matrix[:, -1].clone()
        return self

    def transform(self, logits: Any) -> Any:
        """Mapped log-probabilities, W log p + b (N, K)."""
        return log_probabilities(logits / self.unit_) @ self.weight_.to(logits).T + self.bias_.to(logits)


def log_probabilities(logits: Tensor) -> Tensor:
    """Log-probabilities (N, K), floored at -100: e^-100 is below the smallest number of float32."""
    return torch.log_softmax(logits, dim=1).clamp_min(-100)
