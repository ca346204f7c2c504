"""Simulation of a perfectly calibrated classifier."""

import numpy as np

from calbench.benchmark.core.bins import inner_edges

_BLOCK_NUMBERS = 2**21

LARGE = 2**18
"""Samples above which labels are drawn for cells of nearly equal confidences at once."""

CELLS = 4096
"""Cells of equal width: the variance of a cell's hits is exact to a share of 1 / CELLS."""


def simulated_ece(confidence: np.ndarray, *, bins: int, draws: int, seed: int) -> np.ndarray:
    """ECE of `draws` label sets drawn from the confidences (N,): (draws,), per cent.

    Raises:
        ValueError: confidences that are not one-dimensional, empty or outside 0..1.
    """
    if confidence.ndim != 1 or len(confidence) == 0 or not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("noise floor: confidences must be a non-empty vector of numbers in 0..1")
    edges = inner_edges(bins).astype(confidence.dtype)
    ranked = np.sort(confidence)
    generator = np.random.default_rng(seed)
    if len(ranked) > LARGE:
        return _by_cells(ranked, edges, draws, generator)
    starts = _starts(ranked, edges)  # equal-width bins are runs of the sorted confidences
    expected = np.add.reduceat(ranked, starts, dtype=np.float64)
    thresholds = ranked.astype(np.float32)
    step = max(1, _BLOCK_NUMBERS // len(ranked))
    found = np.empty(draws)
    for first in range(0, draws, step):
        size = min(step, draws - first)
        hits = generator.random((size, len(ranked)), dtype=np.float32) < thresholds
        gaps = np.add.reduceat(hits, starts, axis=1, dtype=np.int64) - expected
        found[first : first + size] = 100 * np.abs(gaps).sum(axis=1) / len(ranked)
    return found


def _starts(ranked: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Where the runs of sorted numbers begin that lie between edges; a run has at least one number."""
    starts = np.append(0, np.searchsorted(ranked, edges, side="right"))
    return starts[starts < np.append(starts[1:], len(ranked))]


def _by_cells(ranked: np.ndarray, edges: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """The ECE of label sets where the hits of a cell of bins are binomial with its mean confidence."""
    fine = np.arange(1, CELLS, dtype=ranked.dtype) / CELLS
    starts = _starts(ranked, np.unique(np.concatenate([edges, fine])))
    counts = np.diff(starts, append=len(ranked))
    expected = np.add.reduceat(ranked, starts, dtype=np.float64)
    chances = np.clip(expected / counts, 0, 1)
    bins = np.searchsorted(starts, _starts(ranked, edges))
    found = np.empty(draws)
    for draw in range(draws):
        gaps = np.add.reduceat(generator.binomial(counts, chances) - expected, bins)
        found[draw] = 100 * np.abs(gaps).sum() / len(ranked)
    return found
