"""Calibration metrics of the ranked confidences, and debiased estimators."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from typing_extensions import override

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.metrics.base import Metric, register
from calbench.benchmark.metrics.binned import Bins, top_label_gaps
from calbench.benchmark.metrics.gaps import Gaps
from calbench.benchmark.metrics.intervals import folded_normal, supremum_quantile
from calbench.benchmark.metrics.sample import PointView, Sample, View


@register("ks", label="KS", paper="gupta2021calibration")
@dataclass
class KolmogorovSmirnov(Metric):
    """Kolmogorov-Smirnov calibration error: the largest |sum of c_i - conf_i over conf_i <= s| / N over all s.

    No bins. Gupta 2021, equation 8. Per cent.
    """

    sampling = "bounds"
    highest = 100.0

    @override
    def bounds(self, sample: Sample, level: float) -> tuple[float, float]:
        """Within the supremum of the noise, a Brownian motion at most as long as the mean squared residual."""
        value = float(self.values(PointView(sample))[0])
        half = 100 * supremum_quantile(level) * float(np.sqrt((sample.residual**2).mean() / len(sample)))
        return value - half, value + half

    @override
    def values(self, view: View) -> np.ndarray:
        return 100 * np.abs(view.cumulative(view.sample.residual)).max(axis=1) / len(view)


@register("debiased-ece", label="ECE (debiased)", paper="kumar2019verified")
@dataclass
class DebiasedECE(Metric):
    """ECE minus an estimate of its upward bias, at least 0, over the same equal-width bins as `ece`.

    The accuracy of bin b is taken as normal with variance acc_b (1 - acc_b) / n_b; the bias is the mean of the ECE
    under this noise minus the ECE (Kumar 2019, section 5 and appendix, for the L1 error). The mean of an absolute
    normal value is known, so nothing is simulated. It removes about four tenths of the bias of a calibrated model. The
    variance of a bin with one sample would be 0 (their code refuses such bins): it is conf (1 - conf) here. Per cent.
    """

    bins: Bins = DEFAULT_BINS
    sampling = "gaps"
    highest = 100.0

    @override
    def values(self, view: View) -> np.ndarray:
        index = view.sample.bin_of(self.bins)
        counts = np.maximum(view.segments(index, self.bins), 1)
        gaps = np.abs(view.segments(index, self.bins, view.sample.residual)) / counts
        accuracy = np.clip(view.segments(index, self.bins, view.sample.correct) / counts, 0, 1)
        confidence = np.clip(view.segments(index, self.bins, view.sample.confidence) / counts, 0, 1)
        accuracy = np.where(counts < 2, confidence, accuracy)
        spread = np.sqrt(accuracy * (1 - accuracy) / counts)
        debiased = 2 * gaps - folded_normal(gaps, spread)[0]
        return 100 * np.maximum((debiased * counts).sum(axis=1) / len(view), 0)

    @override
    def gaps(self, sample: Sample) -> Gaps:
        return top_label_gaps(sample, self.bins)


@register("ece-sweep", label="ECE (sweep)", paper="roelofs2022mitigating")
@dataclass
class ECESweep(Metric):
    """ECE over as many equal-mass bins as keep the bins' accuracies in rising order.

    The number of bins grows from 1 until the accuracies are no longer monotone; the last number that was is used. The
    sample of rank i (from 0) is in bin floor(i M / N) of M, as in the authors' code. ``norm`` is ``l1``, the mean of
    |acc_b - conf_b| (an ECE, as the name says), or ``l2``, the root of the mean of its square (the default of their
    code). Roelofs 2022, algorithm 1. Equal confidences share their residual, as in `adaece`. Per cent.
    """

    norm: Literal["l1", "l2"] = "l1"
    sampling = "none"
    highest = 100.0

    @override
    def values(self, view: View) -> np.ndarray:
        counts = view.cumulative()
        residuals, correct = view.cumulative(view.sample.residual), view.cumulative(view.sample.correct)
        rows = zip(counts, correct, residuals, strict=True)
        return np.array([100 * _swept(*row, len(view), self.norm) for row in rows])


def _edges(bins: int, size: int) -> np.ndarray:
    """The first rank of each bin, and the size: rank i is in bin floor(i bins / size)."""
    return -(-np.arange(bins + 1) * size // bins)


def _swept(counts: np.ndarray, correct: np.ndarray, residuals: np.ndarray, size: int, norm: str) -> float:
    bins = size if _is_rising(np.diff(correct) / np.maximum(np.diff(counts), 1)) else _last_monotone(counts, correct)
    edges = _edges(bins, size)
    sums = np.abs(np.diff(np.interp(edges, counts, residuals)))
    return float(sums.sum()) / size if norm == "l1" else float(np.sqrt((sums**2 / np.diff(edges)).sum() / size))


def _last_monotone(counts: np.ndarray, correct: np.ndarray) -> int:
    size = int(counts[-1])
    for bins in range(2, size + 1):
        edges = _edges(bins, size)
        if not _is_rising(np.diff(np.interp(edges, counts, correct)) / np.diff(edges)):
            return bins - 1
    return size


def _is_rising(values: np.ndarray) -> bool:
    return bool((np.diff(values) >= -1e-12).all())
