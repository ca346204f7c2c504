"""Closed forms: confidence intervals of proportions and of suprema, moments of a folded normal.

scipy's `binomtest` has Wilson's interval too, for one proportion of whole numbers; here they are arrays of bins.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import norm


def wilson_interval(successes: np.ndarray, trials: np.ndarray, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """The score interval of a proportion (Wilson 1927); NaN without trials.

    Args:
        successes: counts.
        trials: counts, at least as large.
        level: coverage.

    Returns:
        Lower and upper ends, fractions.
    """
    z = norm.ppf((1 + level) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = successes / trials
        centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
        half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def supremum_quantile(level: float) -> float:
    """The number that sup |B(t)| over 0 <= t <= 1 stays below with probability `level`, for a Brownian motion B.

    P(sup |B| <= c) = 4 / pi sum_k (-1)^k / (2 k + 1) exp(-(2 k + 1)^2 pi^2 / (8 c^2)) (Feller 1971, volume 2, X.5).

    Example:
        >>> round(supremum_quantile(0.95), 4)
        2.2414
    """
    odd = 2 * np.arange(50) + 1
    signs = np.where(np.arange(50) % 2 == 0, 1.0, -1.0)

    def excess(c: float) -> float:
        return float(4 / np.pi * (signs / odd * np.exp(-((odd * np.pi) ** 2) / (8 * c**2))).sum()) - level

    return float(brentq(excess, 0.3, 10))


def folded_normal(mean: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of |X| for a normal X, as of `scipy.stats.foldnorm`, which takes 4 to 17 times as long.

    Args:
        mean: of X.
        spread: the standard deviation of X, of a shape that broadcasts; may be 0.
    """
    safe = np.where(spread > 0, spread, 1)
    ratio = np.abs(mean) / safe
    folded = safe * (np.sqrt(2 / np.pi) * np.exp(-0.5 * ratio**2) + ratio * (2 * ndtr(ratio) - 1))
    folded = np.where(spread > 0, folded, np.abs(mean))
    return folded, np.maximum(mean**2 + spread**2 - folded**2, 0)
