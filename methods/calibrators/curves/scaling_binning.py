"""The scaling-binning calibrator, one-vs-rest."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
from pydantic import Field
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from calbench.methods.base import register
from calbench.methods.calibrators._one_vs_rest import Curve, OneVsRest
from calbench.methods.calibrators._top import warn_of_lost_accuracy

TINY = 1e-12


@register("scaling-binning", label="Scaling-binning", paper="kumar2019verified")
@dataclass
class ScalingBinning(OneVsRest):
    """q_k = the mean of g_k over the samples in the bin of p_k; g_k is Platt scaling, bins have equal mass under g_k.

    The calibration split is cut in three, by every third sample: one part fits g_k(p) = sigmoid(a logit p + b), one
    chooses ``bins`` bins with as many values of g_k each, one takes the mean of g_k (not of the labels) in each bin.
    The released library uses all samples for all three steps; ``split=false`` does so. One-vs-rest, renormalised: few
    samples of a class in a third of a small split make a poor g_k, and bins make ties between classes, so accuracy can
    be lost. ``tva(calibrator=scaling-binning)`` is the top-label form of the library.

    Kumar, Liang and Ma 2019, arXiv 1909.10155.
    """

    bins: Annotated[int, Field(ge=1)] = 10
    split: bool = True
    exact = True  # near 1, float32 resolves log-odds no better than steps of 6e-8 / (1 - p)
    tune_grid = (("bins", (5, 10, 20, 40)),)

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit the steps on calibration logits (N, K) and labels (N,); warns where they cost accuracy."""
        super().fit(logits, labels)
        warn_of_lost_accuracy(self.spec.name, self.transform(logits), logits, labels)
        return self

    def fit_curve(self, probabilities: np.ndarray, hits: np.ndarray) -> Curve:
        """The steps of one class."""
        parts = [slice(i, None, 3) for i in range(3)] if self.split and len(hits) >= 3 else [slice(None)] * 3
        scale = _platt(probabilities[parts[0]], hits[parts[0]])
        points = probabilities.astype(np.float32).astype(np.float64)  # as a transform and an export compare with knots
        edges = np.quantile(points[parts[1]], np.arange(1, self.bins) / self.bins)  # g_k keeps the order of p_k
        knots = np.unique(edges)
        knots = knots if len(knots) else np.array([1.0])
        cells = np.searchsorted(knots, points[parts[2]])
        counts = np.bincount(cells, minlength=len(knots) + 1)
        sums = np.bincount(cells, scale(probabilities[parts[2]]), minlength=len(knots) + 1)
        middles = scale(np.convolve(np.concatenate([[0.0], knots, [1.0]]), [0.5, 0.5], mode="valid"))
        return knots, np.where(counts > 0, sums / np.maximum(counts, 1), middles)


def _platt(probabilities: np.ndarray, hits: np.ndarray):  # noqa: ANN202 - a function of an array
    """Platt scaling of the log-odds; a constant where only one kind is seen, at Laplace's estimate."""
    if hits.all() or not hits.any():
        share = (hits.sum() + 1) / (len(hits) + 2)
        return lambda p: np.full_like(p, share)
    model = LogisticRegression(C=1e6, max_iter=1000).fit(_odds(probabilities), hits)
    slope, offset = max(float(model.coef_[0, 0]), 0.0), float(model.intercept_[0])
    return lambda p: expit(slope * _odds(p)[:, 0] + offset)


def _odds(probabilities: np.ndarray) -> np.ndarray:
    return logit(probabilities.clip(TINY, 1 - TINY))[:, None]
