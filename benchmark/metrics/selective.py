"""How well the confidence tells right predictions from wrong ones."""

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma
from typing_extensions import override

from calbench.benchmark.metrics.base import Metric, register
from calbench.benchmark.metrics.sample import View


@register("misclassification-auroc", label="AUROC (errors)", paper="hendrycks2017baseline")
@dataclass
class MisclassificationAUROC(Metric):
    """Area under the ROC curve of the confidence as a sign of right predictions; equal confidences count half.

    Hendrycks and Gimpel 2017. Per cent; NaN where all predictions are right or all are wrong.
    """

    better = "higher"

    @override
    def values(self, view: View) -> np.ndarray:
        right = np.diff(view.cumulative(view.sample.correct))
        wrong = np.diff(view.cumulative()) - right
        below = np.cumsum(wrong, axis=1) - wrong / 2
        pairs = right.sum(axis=1) * wrong.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(pairs > 0, 100 * (right * below).sum(axis=1) / pairs, np.nan)


@register("aurc", label="AURC", paper="geifman2019bias")
@dataclass
class AURC(Metric):
    """Area under the risk-coverage curve: the mean over n of the error rate of the n most confident samples.

    Geifman 2019, equation 3. Samples of equal confidence enter with their mean error. Per cent.
    """

    @override
    def values(self, view: View) -> np.ndarray:
        counts = np.diff(view.cumulative())[:, ::-1]
        errors = counts - np.diff(view.cumulative(view.sample.correct))[:, ::-1]
        before = np.cumsum(counts, axis=1) - counts
        errors_before = np.cumsum(errors, axis=1) - errors
        rate = errors / np.maximum(counts, 1)
        # the sum over j = 1..w of (E + rate j) / (C + j), with C and E the samples and errors before a run of w
        harmonic = digamma(before + counts + 1) - digamma(before + 1)
        areas = (errors_before - rate * before) * harmonic + errors
        return 100 * areas.sum(axis=1) / len(view)
