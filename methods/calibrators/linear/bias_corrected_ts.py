"""Bias-corrected temperature scaling: a temperature and a bias per class."""

import warnings
from dataclasses import dataclass
from typing import Any, Self

from sklearn.exceptions import ConvergenceWarning

from calbench.methods.base import register
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.solvers.class_scaling import fit_class_scaling


@register("bias-corrected-ts", label="BCTS", paper="alexandari2020maximum")
@dataclass
class BiasCorrectedTS(Calibrator):
    """softmax(z / T + b), with T and b (K,) minimising the NLL of the calibration split.

    Convex in (1/T, b); b is given with mean zero. For a class absent from the calibration split see `VectorScaling`.

    Alexandari, Kundaje and Shrikumar 2020, arXiv 1901.06852.
    """

    def fit(self, logits: Any, labels: Any, sample_weight: Any = None) -> Self:
        """Fit ``inverse_temperature_`` and ``bias_`` (K,) on logits (N, K), labels (N,) and weights (N,), or none."""
        found = fit_class_scaling(logits, labels, sample_weight, shared_scale=True)
        if not found.converged:
            warnings.warn("bias-corrected-ts: stopped short of the optimum", ConvergenceWarning, stacklevel=3)
        self.inverse_temperature_, self.bias_ = float(found.weight), found.bias.to(logits.dtype)
        return self

    def transform(self, logits: Any) -> Any:
        """Scaled and shifted logits, z / T + b (N, K)."""
        return logits * self.inverse_temperature_ + self.bias_.to(logits)
