"""Calibration metrics of the ranked confidences, and debiased estimators."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm
from typing_extensions import override

from calbench.benchmark.metrics.base import Metric, register
from calbench.benchmark.metrics.binned import Bins
from calbench.benchmark.metrics.sample import View


@register("ks", label="KS", paper="gupta2021calibration")
@dataclass
class KolmogorovSmirnov(Metric):
    """Kolmogorov-Smirnov calibration error: the largest |sum of c_i - conf_i over conf_i <= s| / N over all s.

    No bins. Gupta 2021, equation 8. Per cent.
    """

    @override
    def values(self, view: View) -> np.ndarray:
        return 100 * np.abs(view.cumulative(view.sample.residual)).max(axis=1) / len(view)


@register("debiased-ece", label="ECE (debiased)", paper="kumar2019verified")
@dataclass
class DebiasedECE(Metric):
    """ECE less an estimate of its upward bias, never below 0: beside `ece`, over the same equal-width bins.

    The accuracy of bin b is taken as normal with variance acc_b (1 - acc_b) / n_b; the bias is the mean of the ECE
    under this noise less the ECE (Kumar 2019, section 5 and appendix, for the L1 error). The mean of an absolute normal
    value is known, so nothing is drawn at random. Per cent.
    """

    bins: Bins = 15

    @override
    def values(self, view: View) -> np.ndarray:
        index = view.sample.bin_of(self.bins)
        counts = np.maximum(view.segments(index, self.bins), 1)
        gaps = np.abs(view.segments(index, self.bins, view.sample.residual)) / counts
        accuracy = np.clip(view.segments(index, self.bins, view.sample.correct) / counts, 0, 1)
        spread = np.sqrt(accuracy * (1 - accuracy) / counts)
        debiased = 2 * gaps - folded_normal_mean(gaps, spread)
        return 100 * np.maximum((debiased * counts).sum(axis=1) / len(view), 0)


def folded_normal_mean(mean: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """E|X| of a normal X."""
    ratio = mean / np.where(spread > 0, spread, 1)
    folded = 2 * spread * norm.pdf(ratio) + mean * (2 * norm.cdf(ratio) - 1)
    return np.where(spread > 0, folded, np.abs(mean))


@register("ece-sweep", label="ECE (sweep)", paper="roelofs2022mitigating")
@dataclass
class ECESweep(Metric):
    """ECE over as many equal-mass bins as keep the bins' accuracies in rising order.

    The number of bins grows from 1 until the accuracies are no longer monotone; the last number that was is used.
    Roelofs 2022, algorithm 1. Equal confidences share their residual, as in `adaece`. Per cent.
    """

    @override
    def values(self, view: View) -> np.ndarray:
        counts = view.cumulative()
        residuals, correct = view.cumulative(view.sample.residual), view.cumulative(view.sample.correct)
        return np.array([_swept(*row, len(view)) for row in zip(counts, correct, residuals, strict=True)])


def _swept(counts: np.ndarray, correct: np.ndarray, residuals: np.ndarray, size: int) -> float:
    bins = size if _is_rising(np.diff(correct) / np.maximum(np.diff(counts), 1)) else _last_monotone(counts, correct)
    edges = np.arange(bins + 1) * size // bins
    return 100 * float(np.abs(np.diff(np.interp(edges, counts, residuals))).sum()) / size


def _last_monotone(counts: np.ndarray, correct: np.ndarray) -> int:
    size = int(counts[-1])
    for bins in range(2, size + 1):
        edges = np.arange(bins + 1) * size // bins
        if not _is_rising(np.diff(np.interp(edges, counts, correct)) / np.diff(edges)):
            return bins - 1
    return size


def _is_rising(values: np.ndarray) -> bool:
    return bool((np.diff(values) >= -1e-12).all())
