"""How a measure of attention relates to correctness and to other numbers of the same samples."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from calbench.benchmark.core.seeds import seed_for

REPLICATES = 500
BLOCK_ELEMENTS = 1_000_000
"""Replicates times samples that are ranked at once."""

Statistic = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From two arrays (..., N) to the statistic of every pair of rows (...)."""


@dataclass(frozen=True)
class Relation:
    """A statistic with its 95 % interval and the number of samples, those that were measured; NaN if not defined."""

    value: float
    low: float
    high: float
    samples: int


def rank_correlation(first: np.ndarray, second: np.ndarray) -> Relation:
    """Spearman's rank correlation, with a bootstrap interval over samples.

    Args:
        first: (N,).
        second: (N,).
    """
    return _with_interval(_spearman, first, second)


def misclassification_auroc(measure: np.ndarray, correct: np.ndarray) -> Relation:
    """The probability that a wrong sample has a larger measure than a correct one, with a bootstrap interval.

    Args:
        measure: (N,); 0.5 means no information.
        correct: (N,) bool.
    """
    return _with_interval(_auroc, measure, correct.astype(float))


def _with_interval(statistic: Statistic, first: np.ndarray, second: np.ndarray) -> Relation:
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    if not len(first):
        return Relation(float("nan"), float("nan"), float("nan"), 0)
    rng = np.random.default_rng(seed_for(0, "relations", len(first)))
    value = float(statistic(first, second))
    if not np.isfinite(value):
        return Relation(float("nan"), float("nan"), float("nan"), len(first))
    indices = rng.integers(len(first), size=(REPLICATES, len(first)))
    blocks = np.array_split(indices, min(REPLICATES, -(-indices.size // BLOCK_ELEMENTS)))
    draws = np.concatenate([statistic(first[block], second[block]) for block in blocks])
    draws = draws[np.isfinite(draws)]
    if len(draws) < REPLICATES / 2:
        return Relation(value, float("nan"), float("nan"), len(first))
    low, high = _corrected_percentiles(draws, value)
    return Relation(value, low, high, len(first))


def _corrected_percentiles(draws: np.ndarray, value: float) -> tuple[float, float]:
    """The bias-corrected percentile interval."""
    share = (np.sum(draws < value) + 0.5 * np.sum(draws == value)) / len(draws)
    shift = norm.ppf(np.clip(share, 1e-3, 1 - 1e-3))
    low, high = norm.cdf(2 * shift + norm.ppf([0.025, 0.975]))
    return float(np.quantile(draws, low)), float(np.quantile(draws, high))


def _spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    a, b = rankdata(first, axis=-1), rankdata(second, axis=-1)
    a, b = a - a.mean(axis=-1, keepdims=True), b - b.mean(axis=-1, keepdims=True)
    scale = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    return np.where(scale > 0, (a * b).sum(axis=-1) / np.where(scale > 0, scale, 1.0), np.nan)


def _auroc(measure: np.ndarray, correct: np.ndarray) -> np.ndarray:
    wrong = correct == 0
    count = wrong.sum(axis=-1)
    pairs = count * (wrong.shape[-1] - count)
    above = (rankdata(measure, axis=-1) * wrong).sum(axis=-1) - count * (count + 1) / 2
    return np.where(pairs > 0, above / np.maximum(pairs, 1), np.nan)
