"""The bins of all binned metrics: the default number of bins, and one rule for their edges."""

import numpy as np

DEFAULT_BINS = 15
"""Equal-width bins of the confidence, as in Guo 2017 and most papers since."""


ECE_CRITERION = "criterion=ece"
"""The name under which a protocol has default options of calibrators that minimise the ECE."""


def inner_edges(bins: int) -> np.ndarray:
    """The inner edges k / bins of `bins` bins of equal width on [0, 1]: (bins - 1,) float64.

    Bin b is (b / bins, (b + 1) / bins]; the first one includes 0. Cast the edges to the type of the numbers that are
    placed, so that a float32 confidence of 0.2 is on the same side as a float64 one.

    Example:
        >>> inner_edges(4).tolist()
        [0.25, 0.5, 0.75]
    """
    return np.arange(1, bins) / bins


def bin_of(values: np.ndarray, bins: int) -> np.ndarray:
    """The bin of each number in 0..1: whole numbers in 0..bins-1, of the shape of `values`."""
    return np.searchsorted(inner_edges(bins).astype(values.dtype), values, side="left")
