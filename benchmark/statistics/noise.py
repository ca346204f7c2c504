"""The noise floor: the ECE that a perfectly calibrated classifier shows on as many samples."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..metrics.parts import TopLabel
from ..metrics.sample import Sample
from ..metrics.source import Source

_BLOCK_NUMBERS = 2**21


@dataclass(frozen=True)
class NoiseFloor:
    """The distribution of the ECE under perfect calibration, per cent.

    Attributes:
        mean: its mean.
        q95: its 95th percentile: an ECE above it is not explained by noise.
    """

    mean: float
    q95: float


def noise_floor(
    *,
    logits: Any = None,
    probabilities: Any = None,
    confidences: Any = None,
    bins: int = 15,
    draws: int = 1000,
    seed: int = 0,
) -> NoiseFloor:
    """Simulate the ECE of a classifier whose labels are drawn from its own probabilities.

    Drawn from p, the label is the predicted class with probability conf = max p, so that only the confidences matter
    (consistency resampling, Bröcker and Smith 2007; Vaicenavicius 2019).

    Args:
        logits: (N, K), NumPy or torch.
        probabilities: (N, K), in place of logits.
        confidences: (N,) in 0..1, in place of both.
        bins: number of equal-width bins, as of `ece`.
        draws: number of simulated label sets.
        seed: of the draws.

    Raises:
        ValueError: bad input, or more or less than one of the first three.
    """
    if sum(given is not None for given in (logits, probabilities, confidences)) != 1:
        raise ValueError("noise floor: give one of logits, probabilities and confidences")
    if confidences is None:
        rows = len(logits if logits is not None else probabilities)
        source = Source(logits=logits, probabilities=probabilities, labels=np.zeros(rows, dtype=np.int64))
        confidences = Sample(source)[TopLabel()]["confidence"]
    values = simulated_ece(np.asarray(confidences), bins=bins, draws=draws, seed=seed)
    return NoiseFloor(float(values.mean()), float(np.quantile(values, 0.95)))


def simulated_ece(confidence: np.ndarray, *, bins: int, draws: int, seed: int) -> np.ndarray:
    """ECE of `draws` label sets drawn from the confidences (N,): (draws,), per cent.

    Raises:
        ValueError: confidences that are not one-dimensional, empty or outside 0..1.
    """
    if confidence.ndim != 1 or len(confidence) == 0 or not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("noise floor: confidences must be a non-empty vector of numbers in 0..1")
    edges = (np.arange(1, bins) / bins).astype(confidence.dtype)
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
