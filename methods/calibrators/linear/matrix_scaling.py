"""Matrix scaling: a full matrix and a bias on the logits."""

import warnings
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from calbench.methods.base import register
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.solvers.matrix_fit import SEPARATED, fit_matrix, scaled_identity
from calbench.methods.solvers.newton import optimal_temperature


@register("matrix-scaling", label="MS", paper="guo2017calibration")
@dataclass
class MatrixScaling(Calibrator):
    """softmax(W z + b), with W (K, K) and b (K,) minimising the NLL of the calibration split.

    The plain form has K^2 + K parameters and overfits small calibration splits. ``off_diagonal`` and ``intercept`` add
    off_diagonal / (K (K - 1)) sum_{i != j} (T W_ij)^2 + intercept / K sum b^2, with T the optimal temperature, so that
    a strength means the same at any magnitude of the logits.

    Guo et al. 2017, arXiv 1706.04599, section 4.2; regularisation: Kull et al. 2019, arXiv 1910.12656.
    """

    off_diagonal: Annotated[float, Field(ge=0)] = 0.0
    intercept: Annotated[float, Field(ge=0)] = 0.0

    max_classes: Annotated[int, Field(ge=2)] = 300

    needs = frozenset({"more-samples-than-classes"})
    tune_grid = (("off_diagonal", (0.0, 1.0, 10.0, 100.0)),)
    growth = "fits a matrix of K x K numbers"

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``weight_`` (K, K) and ``bias_`` (K,) on calibration logits (N, K) and labels (N,)."""
        scale = optimal_temperature(logits, labels)

        def scaled(block: Tensor) -> Tensor:
            return block / scale

        solution = fit_matrix(
            logits,
            labels,
            scaled,
            scaled_identity(logits, 1.0),
            off_diagonal=self.off_diagonal,
            intercept=self.intercept,
        )
        if not solution.converged:
            reason = "it separates the calibration split" if solution.value < SEPARATED else "too many iterations"
            warnings.warn(f"matrix-scaling: stopped short of the optimum: {reason}", ConvergenceWarning, stacklevel=3)
        matrix = solution.point.to(logits.dtype)
        self.weight_, self.bias_ = matrix[:, :-1] / scale, matrix[:, -1].clone()
        return self

    def transform(self, logits: Any) -> Any:
        """Mapped logits, W z + b (N, K)."""
        return logits @ self.weight_.to(logits).T + self.bias_.to(logits)
