"""Isotonic regression, one-vs-rest."""

from dataclasses import dataclass

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

    def fit_curve(self, probabilities: np.ndarray, hits: np.ndarray) -> Curve:
        """The knots of one class."""
        model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(probabilities, hits)
        return model.X_thresholds_, model.y_thresholds_
