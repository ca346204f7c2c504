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
    curve increases strictly between the first and the last block and is constant outside. Blocks at 0 and at 1 stay
    flat, as in the paper (and in the package cir-model, whose option ``non_centered_points`` names them). One-vs-rest,
    renormalised.

    Oron and Flournoy 2017, arXiv 1701.05964.
    """

    linear = True

    def fit_curve(self, probabilities: np.ndarray, hits: np.ndarray) -> Curve:
        """The knots of one class."""
        fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit_transform(probabilities, hits)
        values, block = np.unique(fitted, return_inverse=True)
        centres = np.bincount(block, probabilities) / np.bincount(block)
        knots: list[float] = []
        heights: list[float] = []
        for value, centre in zip(values.tolist(), centres.tolist(), strict=True):
            within = probabilities[fitted == value] if value in (0.0, 1.0) else np.array([centre])
            ends = np.unique([within.min(), within.max()]).tolist()
            knots += ends
            heights += [value] * len(ends)
        return np.array(knots), np.array(heights)
