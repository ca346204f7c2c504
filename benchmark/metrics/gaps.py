"""Gaps of a binned calibration error with their sampling noise, for its interval and its debiased value."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Gaps:
    """A calibration error that is a sum of absolute gaps, one per cell (a bin, or a bin of a class).

    Attributes:
        sizes: |gap| of each cell, weighted so that the error is their sum: (B,) fractions.
        spread: standard deviation of each weighted gap under sampling of the labels: (B,) fractions.
        between: the further variance of the sum of sizes from how many samples fall into each cell, a number.
        inflation: the ratio of the variance of the sum of signed gaps to that of independent cells: 1 for disjoint
            bins, above it for classes, whose cells share their samples.
    """

    sizes: np.ndarray
    spread: np.ndarray
    between: float = 0.0
    inflation: float = 1.0

    @property
    def error(self) -> float:
        """The plug-in calibration error, a fraction."""
        return float(self.sizes.sum())


def binned_gaps(counts: np.ndarray, hits: np.ndarray, confidences: np.ndarray, weight: float = 1.0) -> Gaps:
    """The gaps of cells from their sums.

    The variance of a cell's accuracy is that of a share: a (1 - a) / n with a = (hits + 2 c) / (n + 2), two
    pseudo-samples at the cell's mean confidence c, so that a cell of one sample has noise too.

    Args:
        counts: samples in each cell (B,); empty cells are left out.
        hits: the right (or of-the-class) ones among them (B,).
        confidences: sums of their confidences (B,).
        weight: of each cell's share: 1 / N for the top label, 1 / (N K) averaged over K classes.
    """
    filled = counts > 0
    n, hits, confidences = (values[filled].astype(np.float64) for values in (counts, hits, confidences))
    sizes = np.abs(hits - confidences) * weight
    share = np.clip((hits + 2 * confidences / n) / (n + 2), 0, 1)
    spread = np.sqrt(n * share * (1 - share)) * weight
    return Gaps(sizes, spread, between_variance(sizes, n, weight))


def between_variance(sizes: np.ndarray, counts: np.ndarray, weight: float) -> float:
    """Variance of the sum of `sizes` because the numbers of samples in the cells vary (multinomially)."""
    total = float(counts.sum())
    per_sample = sizes / (counts * weight)  # the mean gap of each cell's samples
    mean = float((counts * per_sample).sum()) / total
    return max(float((counts * (per_sample - mean) ** 2).sum()), 0.0) * weight**2
