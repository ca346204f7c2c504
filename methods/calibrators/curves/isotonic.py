"""Isotonic regression, one-vs-rest."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from sklearn.isotonic import IsotonicRegression

from calbench.methods.base import register
from calbench.methods.calibrators._one_vs_rest import Curve, OneVsRest


@register("isotonic", label="Isotonic", paper="zadrozny2002transforming")
@dataclass
class Isotonic(OneVsRest):
    """q_k = the non-decreasing function of p_k with the least squared error, straight between the calibration samples.

    One-vs-rest, renormalised; fitted by scikit-learn.

    Zadrozny and Elkan 2002.
    """

    linear = True

    def fit(self, logits: Any, labels: Any, sample_weight: Any = None) -> Self:
        """Fit ``knots_`` and ``values_`` on calibration logits (N, K), labels (N,) and weights (N,), or none."""
        weights = None if sample_weight is None else sample_weight.cpu().numpy()
        return self.fit_curves(logits, labels, partial(self.fit_curve, weights=weights))

    def fit_curve(self, probabilities: np.ndarray, hits: np.ndarray, weights: np.ndarray | None = None) -> Curve:
        """The knots of one class."""
        model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(probabilities, hits, weights)
        return model.X_thresholds_, model.y_thresholds_
