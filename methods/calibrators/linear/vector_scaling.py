"""Vector scaling: a weight and a bias per class."""

import warnings
from dataclasses import dataclass
from typing import Any, Self

from sklearn.exceptions import ConvergenceWarning

from calbench.methods.base import register
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.solvers.class_scaling import fit_class_scaling


@register("vector-scaling", label="VS", paper="guo2017calibration")
@dataclass
class VectorScaling(Calibrator):
    """softmax(w * z + b), with w and b (K,) minimising the NLL of the calibration split.

    The NLL is convex in (w, b); b is given with mean zero, since a shift of all of b changes nothing. Where the optimum
    lies at infinity (a class absent from the calibration split, separable data) the fit stops where the NLL is within
    1e-10 nats of its infimum, or warns.

    Guo et al. 2017, arXiv 1706.04599, section 4.2.
    """

    def fit(self, logits: Any, labels: Any, sample_weight: Any = None) -> Self:
        """Fit ``weight_`` and ``bias_`` (K,) on logits (N, K), labels (N,) and weights (N,), or none."""
        found = fit_class_scaling(logits, labels, sample_weight, shared_scale=False)
        if not found.converged:
            warnings.warn("vector-scaling: stopped short of the optimum", ConvergenceWarning, stacklevel=3)
        elif found.separates:
            said = (
                "vector-scaling: the calibration split separates a class, or nearly so: its weight grows without bound"
            )
            warnings.warn(said, ConvergenceWarning, stacklevel=3)
        self.weight_, self.bias_ = found.weight.to(logits.dtype), found.bias.to(logits.dtype)
        return self

    def transform(self, logits: Any) -> Any:
        """Scaled and shifted logits, w * z + b (N, K)."""
        return logits * self.weight_.to(logits) + self.bias_.to(logits)
