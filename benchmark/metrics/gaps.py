"""Gaps of a binned calibration error with their sampling noise, for its interval and its debiased value."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, norm

from calbench.benchmark.metrics.intervals import wilson_interval


@dataclass(frozen=True)
class Gaps:
    """A calibration error that is a sum of absolute gaps, one per cell (a bin, or a bin of a class).

    Attributes:
        sizes: |gap| of each cell, weighted so that the error is their sum: (B,) fractions.
        spread: standard deviation of each weighted gap under sampling of the labels: (B,) fractions.
        between: the further variance of the sum of sizes from how many samples fall into each cell, a number.
        inflation: the ratio of the variance of the sum of signed gaps to that of independent cells: 1 for disjoint
            bins, above it for classes, whose cells share their samples.
        cells: samples, hits and mean confidence of each cell, three arrays (B,); None where they are not known.
        weight: of one sample in the error: 1 / N for the top label.
        expected: the share of hits (B,) that noise is computed with, for cells of few samples, as those of classes,
            whose own share says little: then also from the binomial distribution, not from a normal one.
    """

    sizes: np.ndarray
    spread: np.ndarray
    between: float = 0.0
    inflation: float = 1.0
    cells: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    weight: float = 1.0
    expected: np.ndarray | None = None

    def pure_noise(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Mean and variance of each |gap| (B,) of pure noise, by the binomial distribution; None without `expected`.

        E|X - n a| = 2 m (1 - a) P(X = m) for X of n trials with probability a and m = floor(n a) + 1 (De Moivre).
        """
        if self.expected is None or self.cells is None:
            return None
        n, a = self.cells[0], self.expected
        m = np.floor(n * a) + 1
        mean = 2 * m * (1 - a) * binom.pmf(m, n, a)
        return mean * self.weight, np.maximum(n * a * (1 - a) - mean**2, 0) * self.weight**2

    def skewness(self, level: float) -> tuple[float, float]:
        """Squared margins of the error, downwards and upwards, that `spread` misses, as fractions.

        A cell whose predictions are nearly all right, or nearly all wrong, has an accuracy that is far from normal: of
        540 right predictions of 540 the accuracy may be 99.3 %, where a standard deviation from the observed share is
        nearly 0. Wilson's interval of each cell's accuracy gives the least and largest gap of that cell; the squares of
        these margins beyond the normal ones add up over cells (MOVER, Zou and Donner 2008).

        Args:
            level: coverage of the intervals.
        """
        if self.cells is None:
            return 0.0, 0.0
        n, hits, confidence = self.cells
        low, high = wilson_interval(hits, n, level)
        ends = np.stack([low - confidence, high - confidence])
        nearest = np.where((ends[0] < 0) & (ends[1] > 0), 0.0, np.abs(ends).min(axis=0))
        scale, normal = n * self.weight, (float(norm.ppf((1 + level) / 2)) * self.spread) ** 2
        down = np.maximum(self.sizes - nearest * scale, 0) ** 2 - normal
        up = np.maximum(np.abs(ends).max(axis=0) * scale - self.sizes, 0) ** 2 - normal
        inflation = max(self.inflation, 1.0)
        return float(np.maximum(down, 0).sum()) * inflation, float(np.maximum(up, 0).sum()) * inflation

    @property
    def error(self) -> float:
        """The plug-in calibration error, a fraction."""
        return float(self.sizes.sum())


def binned_gaps(
    counts: np.ndarray, hits: np.ndarray, confidences: np.ndarray, weight: float = 1.0,
    expected: np.ndarray | None = None,
) -> Gaps:  # fmt: skip
    """The gaps of cells from their sums.

    The variance of a cell's accuracy is that of a share: a (1 - a) / n with a = (hits + m e) / (n + m): pseudo-samples
    at an expected share e, so that a cell of one sample has noise too. e is the cell's mean confidence, with m = 2, or
    `expected`, with m = 8.

    Args:
        counts: samples in each cell (B,); empty cells are left out.
        hits: the right (or of-the-class) ones among them (B,).
        confidences: sums of their confidences (B,).
        weight: of each cell's share: 1 / N for the top label, 1 / (N K) averaged over K classes.
        expected: of the cells (B,), where more than their own samples is known of their shares.
    """
    filled = counts > 0
    n, hits, confidences = (values[filled].astype(np.float64) for values in (counts, hits, confidences))
    sizes = np.abs(hits - confidences) * weight
    mean = np.clip(confidences / n, 0, 1)
    expected = None if expected is None else np.clip(expected[filled], 0, 1)
    prior, pseudo = (mean, 2) if expected is None else (expected, 8)
    share = np.clip((hits + pseudo * prior) / (n + pseudo), 0, 1)
    spread = np.sqrt(n * share * (1 - share)) * weight
    between = between_variance(sizes, n, weight)
    return Gaps(sizes, spread, between, cells=(n, hits, mean), weight=weight, expected=expected)


def pooled_shares(counts: np.ndarray, hits: np.ndarray, confidences: np.ndarray) -> np.ndarray:
    """The share of hits that the cells of one bin have over all classes, at each cell's own confidence: (K, B).

    Of a class a bin has few samples, of all classes many. Below one half the confidence is scaled to the hits of the
    bin, above it the rest to the misses, so that classes of different mean confidence keep different shares.

    Args:
        counts: samples of each class and bin (K, B).
        hits: those of the class (K, B).
        confidences: sums of the probability of the class (K, B).
    """
    mean = np.clip(confidences / np.maximum(counts, 1), 0, 1)
    misses, rest = counts - hits, counts - confidences
    scale_up, scale_down = _ratio(hits, confidences), _ratio(misses, rest)
    return np.clip(np.where(mean < 0.5, mean * scale_up, 1 - (1 - mean) * scale_down), 0, 1)


def _ratio(seen: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Sums over classes, with a pseudo-sample as predicted: (1, B)."""
    return (seen.sum(axis=0, keepdims=True) + 1) / (np.maximum(predicted.sum(axis=0, keepdims=True), 0) + 1)


def between_variance(sizes: np.ndarray, counts: np.ndarray, weight: float) -> float:
    """Variance of the sum of `sizes` because the numbers of samples in the cells vary (multinomially)."""
    total = float(counts.sum())
    per_sample = sizes / (counts * weight)  # the mean gap of each cell's samples
    mean = float((counts * per_sample).sum()) / total
    return max(float((counts * (per_sample - mean) ** 2).sum()), 0.0) * weight**2
