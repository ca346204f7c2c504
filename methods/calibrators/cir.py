"""Centred isotonic regression, one-vs-rest."""

from dataclasses import dataclass

import numpy as np
from sklearn.isotonic import IsotonicRegression

from calbench.methods.base import register
from calbench.methods.calibrators._one_vs_rest import Curve, OneVsRest


@register("cir", label="CIR", paper="oron2017centered")
@dataclass
class CenteredIsotonic(OneVsRest):
    """q_k = the straight pieces through (mean p_k, mean [y = k]) of the blocks of the isotonic regression of class k.

    Isotonic regression is flat within a block; here each block becomes one point at the mean of its p_k, so that the
    curve increases strictly between the first and the last block and is constant outside. One-vs-rest, renormalised.

    Oron and Flournoy 2017, arXiv 1701.05964.
    """

    linear = True

    def fit_curve(self, probabilities: np.ndarray, hits: np.ndarray) -> Curve:
        """The knots of one class."""
        fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(probabilities, hits)
        values, block = np.unique(fitted, return_inverse=True)
        return np.bincount(block, probabilities) / np.bincount(block), values
