"""Calibration of the confidence by a spline of its cumulative accuracy."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import register
from calbench.methods.calibrators._top import TopLabel


@register("spline", label="Spline", paper="gupta2021calibration")
@dataclass
class Spline(TopLabel):
    """q' = h'(t(q)), h the natural cubic spline fitted to h_i = 1/N sum_{j <= i} [sample j correct] at t_i = i/N.

    Samples are sorted by their confidence, t(q) is the share of calibration samples with a confidence up to q. The
    spline has ``knots`` equidistant knots in t and is fitted by least squares; its derivative is the accuracy at the
    quantile t, interpolated between the calibration confidences and clipped to 0..1. The released code fits the spline
    to h_i less the cumulated confidence and adds the confidence to its derivative, so that few knots follow a steep
    curve; it calibrates the confidence only and gives no class probabilities. Here the other classes keep their
    proportions.

    Gupta et al. 2021, arXiv 2006.12800 (six knots).
    """

    knots: Annotated[int, Field(ge=2)] = 6
    tune_grid = (("knots", (4, 6, 8, 12)),)

    def fit_confidence(self, log_confidence: Tensor, hits: Tensor) -> None:
        """Fit ``scores_`` and ``values_`` (M,), the curve through which confidences are interpolated."""
        scores, order = log_confidence[:, 1].exp().sort(stable=True)
        correct = hits[order].double().cpu().numpy()
        times = np.arange(1, len(correct) + 1) / len(correct)
        places = np.linspace(0, 1, self.knots)
        weights = np.linalg.lstsq(_basis(times, places)[0], correct.cumsum() / len(correct), rcond=None)[0]
        slopes = (_basis(times, places)[1] @ weights).clip(0, 1)
        knots, group = np.unique(scores.cpu().numpy(), return_inverse=True)
        values = np.bincount(group, slopes) / np.bincount(group)
        self.scores_, self.values_ = (torch.from_numpy(part).to(hits.device) for part in (knots, values))

    def confidence(self, log_confidence: Tensor) -> Tensor:
        """The interpolated slope at each confidence (N,)."""
        scores, values, points = self.scores_.to(log_confidence), self.values_, log_confidence[:, 1].exp()
        right = torch.searchsorted(scores, points).clamp(max=len(scores) - 1)
        left = (right - 1).clamp_min(0)
        share = ((points - scores[left]) / (scores[right] - scores[left]).clamp_min(1e-300)).clamp(0, 1)
        return values.to(points)[left].lerp(values.to(points)[right], share)


def _basis(times: np.ndarray, knots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The truncated-power basis of natural cubic splines at `times` (N,), and its derivative: both (N, knots).

    Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, equations 5.4 and 5.5.
    """
    above = np.maximum(times[:, None] - knots, 0)
    last, width = above[:, -1:], np.maximum(knots[-1] - knots[:-1], 1e-12)
    cubes, squares = (above[:, :-1] ** 3 - last**3) / width, 3 * (above[:, :-1] ** 2 - last**2) / width
    one, zero = np.ones((len(times), 1)), np.zeros((len(times), 1))
    values = np.hstack([one, times[:, None], cubes[:, :-1] - cubes[:, -1:]])
    return values, np.hstack([zero, one, squares[:, :-1] - squares[:, -1:]])
