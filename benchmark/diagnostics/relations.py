"""How a measure of attention relates to correctness and to other numbers of the same samples."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata

from calbench.benchmark.core.seeds import seed_for

REPLICATES = 500


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


def _with_interval(
    statistic: Callable[[np.ndarray, np.ndarray], float], first: np.ndarray, second: np.ndarray
) -> Relation:
    known = np.isfinite(first) & np.isfinite(second)
    first, second = first[known], second[known]
    if not len(first):
        return Relation(float("nan"), float("nan"), float("nan"), 0)
    rng = np.random.default_rng(seed_for(0, "relations", len(first)))
    value = statistic(first, second)
    if not np.isfinite(value):
        return Relation(float("nan"), float("nan"), float("nan"), len(first))
    draws = np.array([statistic(first[i], second[i]) for i in rng.integers(len(first), size=(REPLICATES, len(first)))])
    draws = draws[np.isfinite(draws)]
    if len(draws) < REPLICATES / 2:
        return Relation(float(value), float("nan"), float("nan"), len(first))
    low, high = _corrected_percentiles(draws, value)
    return Relation(float(value), low, high, len(first))


def _corrected_percentiles(draws: np.ndarray, value: float) -> tuple[float, float]:
    """The bias-corrected percentile interval."""
    share = (np.sum(draws < value) + 0.5 * np.sum(draws == value)) / len(draws)
    shift = norm.ppf(np.clip(share, 1e-3, 1 - 1e-3))
    low, high = norm.cdf(2 * shift + norm.ppf([0.025, 0.975]))
    return float(np.quantile(draws, low)), float(np.quantile(draws, high))


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    a, b = rankdata(first), rankdata(second)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else float("nan")


def _auroc(measure: np.ndarray, correct: np.ndarray) -> float:
    wrong = correct == 0
    count = int(wrong.sum())
    if count in (0, len(wrong)):
        return float("nan")
    ranks = rankdata(measure)
    return float((ranks[wrong].sum() - count * (count + 1) / 2) / (count * (len(wrong) - count)))
