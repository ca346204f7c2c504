"""Simulation of a perfectly calibrated classifier."""

import numpy as np

from calbench.benchmark.core.bins import inner_edges

_BLOCK_NUMBERS = 2**21


def simulated_ece(confidence: np.ndarray, *, bins: int, draws: int, seed: int) -> np.ndarray:
    """ECE of `draws` label sets drawn from the confidences (N,): (draws,), per cent.

    Raises:
        ValueError: confidences that are not one-dimensional, empty or outside 0..1.
    """
    if confidence.ndim != 1 or len(confidence) == 0 or not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("noise floor: confidences must be a non-empty vector of numbers in 0..1")
    edges = inner_edges(bins).astype(confidence.dtype)
    ranked = np.sort(confidence)
    starts = np.append(0, np.searchsorted(ranked, edges, side="right"))
    filled = starts < np.append(starts[1:], len(ranked))
    starts = starts[filled]  # equal-width bins are runs of the sorted confidences
    expected = np.add.reduceat(ranked, starts, dtype=np.float64)
    thresholds = ranked.astype(np.float32)
    generator = np.random.default_rng(seed)
    step = max(1, _BLOCK_NUMBERS // len(ranked))
    found = np.empty(draws)
    for first in range(0, draws, step):
        size = min(step, draws - first)
        hits = generator.random((size, len(ranked)), dtype=np.float32) < thresholds
        gaps = np.add.reduceat(hits, starts, axis=1, dtype=np.int64) - expected
        found[first : first + size] = 100 * np.abs(gaps).sum(axis=1) / len(ranked)
    return found
