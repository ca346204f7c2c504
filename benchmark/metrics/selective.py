"""How well the confidence separates right predictions from wrong ones.

Samples are ranked by log(1 - confidence), taken from the logits in float64: in float32 many confidences of a sharp
model round to 1, and would tie.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import digamma
from typing_extensions import override

from calbench.benchmark.metrics.base import Metric, register
from calbench.benchmark.metrics.parts import LogRest, Part, TopLabel
from calbench.benchmark.metrics.sample import View


class _Ranked(Metric):
    """A metric of the order of the samples by their confidence."""

    @override
    def parts(self) -> Sequence[Part]:
        return [TopLabel(), LogRest()]

    @staticmethod
    def counts(view: View) -> tuple[np.ndarray, np.ndarray]:
        """The samples, and the right ones among them, in each run of equal confidence: (R, G) each, rising."""
        ranking = view.sample.by_certainty
        return np.diff(view.cumulative(None, ranking)), np.diff(view.cumulative(view.sample.correct, ranking))


@register("misclassification-auroc", label="AUROC (errors)", paper="hendrycks2017baseline")
@dataclass
class MisclassificationAUROC(_Ranked):
    """Area under the ROC curve of the confidence as a sign of right predictions; equal confidences count half.

    Hendrycks and Gimpel 2017. Per cent; NaN where all predictions are right or all are wrong.
    """

    better = "higher"

    @override
    def values(self, view: View) -> np.ndarray:
        counts, right = self.counts(view)
        wrong = counts - right
        below = np.cumsum(wrong, axis=1) - wrong / 2
        pairs = right.sum(axis=1) * wrong.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(pairs > 0, 100 * (right * below).sum(axis=1) / pairs, np.nan)


@register("aurc", label="AURC", paper="geifman2019bias")
@dataclass
class AURC(_Ranked):
    """Area under the risk-coverage curve: the mean over n of the error rate of the n most confident samples.

    Geifman 2019, equation 3. Samples of equal confidence enter with their mean error. Per cent.
    """

    @override
    def values(self, view: View) -> np.ndarray:
        counts, right = (parts[:, ::-1] for parts in self.counts(view))
        errors = counts - right
        before = np.cumsum(counts, axis=1) - counts
        errors_before = np.cumsum(errors, axis=1) - errors
        rate = errors / np.maximum(counts, 1)
        # the sum over j = 1..w of (E + rate j) / (C + j), with C and E the samples and errors before a run of w
        harmonic = digamma(before + counts + 1) - digamma(before + 1)
        areas = (errors_before - rate * before) * harmonic + errors
        return 100 * areas.sum(axis=1) / len(view)
