"""Intervals and p values of means over seeds, of their differences and of their ratios.

Two sources of error are combined. The test samples are shared by all seeds and entries: their part comes from each
model's own 95 % margins and the correlations of the bootstrap replicates, by the method of variance estimates recovery
(MOVER; Zou and Donner 2008, Statistics in Medicine 27, 1693), which keeps the asymmetry of the margins. The seeds' part
is Student's: t with S - 1 degrees of freedom times the standard error of the (paired) values over seeds. The squares of
the two margins add up, so that the level holds when either part dominates; with one seed the second part is unknown.
"""

from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from scipy.stats import norm, t

Z95 = float(norm.ppf(0.975))
_ALPHAS = np.concatenate([np.geomspace(1e-16, 0.5, 400), np.linspace(0.5, 1, 60)[1:]])


@dataclass(frozen=True)
class Side:
    """One entry over S seeds.

    Attributes:
        values: (S,), in a unit in which they can be subtracted (debiased for a calibration error).
        lower: 95 % margins below the values over test samples (S,), not negative.
        upper: those above.
        replicates: bootstrap replicates (S, R), of which only the correlations are used.
    """

    values: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    replicates: np.ndarray

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return float(self.values.mean())

    def flipped(self) -> "Side":
        """The negative of the quantity."""
        return Side(-self.values, self.upper, self.lower, -self.replicates)


@dataclass(frozen=True)
class Contrast:
    """An estimate with the margins of its two sources of error.

    Attributes:
        estimate: the mean, or the difference of two.
        lower: 95 % margin below it over test samples.
        upper: that above it.
        seed_error: its standard error over seeds; 0 with one seed.
        seeds: S.
        degrees: degrees of freedom of `seed_error`; S - 1 where nothing is borrowed (see `statistics.moderated`).
    """

    estimate: float
    lower: float
    upper: float
    seed_error: float
    seeds: int
    degrees: float = 0.0

    def __post_init__(self) -> None:
        if not self.degrees:
            object.__setattr__(self, "degrees", float(self.seeds - 1))

    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        seeds = self.seed_margin if self.seeds > 1 else 0.0
        return self.estimate - float(np.hypot(self.lower, seeds)), self.estimate + float(np.hypot(self.upper, seeds))

    @property
    def seed_margin(self) -> float:
        """The 95 % margin over seeds, which are more than one."""
        return float(t.isf(0.025, self.degrees)) * self.seed_error

    def p_value(self) -> float:
        """The least level at which the interval of that level excludes 0."""
        if self.estimate == 0:
            return 1.0
        samples = (self.lower if self.estimate > 0 else self.upper) / Z95
        margins = np.hypot(samples * _grid(None), (_grid(self.degrees) if self.seeds > 1 else 0.0) * self.seed_error)
        return float(np.interp(-abs(self.estimate), -margins, _ALPHAS))


@lru_cache(maxsize=1024)
def _grid(degrees: float | None) -> np.ndarray:
    """Two-sided quantiles at the levels of `_ALPHAS`, of the normal or of Student's distribution."""
    return norm.isf(_ALPHAS / 2) if degrees is None else t.isf(_ALPHAS / 2, degrees)


@cache
def _quantiles(seeds: int, alpha: float) -> float:
    return float(t.isf(alpha / 2, seeds - 1))


def correlations(replicates: np.ndarray) -> np.ndarray:
    """Correlations (V, V) of rows of replicates (V, R); 0 with a constant row."""
    centred = replicates - replicates.mean(axis=1, keepdims=True)
    size = np.sqrt((centred**2).sum(axis=1))
    scale = np.where(size > 1e-12 * np.maximum(np.abs(replicates).max(axis=1), 1e-300), size, np.inf)
    matrix = (centred / scale[:, None]) @ (centred / scale[:, None]).T
    np.fill_diagonal(matrix, 1)
    return np.clip(matrix, -1, 1)


def mean_of(side: Side) -> Contrast:
    """The mean over seeds of one entry."""
    return _contrast(side.values, side.lower, side.upper, correlations(side.replicates))


def difference(first: Side, second: Side, pseudo_error: float = 0.0) -> Contrast:
    """First minus second, paired over seeds and test samples.

    Args:
        first: an entry.
        second: another over the same seeds, with replicates of the same resamples.
        pseudo_error: a standard error added to that over test samples, against too small ones of few discordant
            samples: 1 / N for shares (half a pseudo-sample in each discordant cell; Agresti and Min 2005).
    """
    values = first.values - second.values
    if not values.any() and np.array_equal(first.replicates, second.replicates):
        return Contrast(0.0, 0.0, 0.0, 0.0, len(values))
    matrix = correlations(np.concatenate([first.replicates, second.replicates]))
    lower, upper = np.concatenate([first.lower, -second.upper]), np.concatenate([first.upper, -second.lower])
    plain = _contrast(values, lower, upper, matrix)
    extra = Z95 * pseudo_error / np.sqrt(len(values))
    return Contrast(
        plain.estimate, float(np.hypot(plain.lower, extra)), float(np.hypot(plain.upper, extra)), plain.seed_error,
        plain.seeds,
    )  # fmt: skip


def _contrast(values: np.ndarray, lower: np.ndarray, upper: np.ndarray, matrix: np.ndarray) -> Contrast:
    seeds = len(values)
    error = float(values.std(ddof=1)) / np.sqrt(seeds) if seeds > 1 else 0.0
    below, above = (float(np.sqrt(max(margin @ matrix @ margin, 0))) / seeds for margin in (lower, upper))
    return Contrast(float(values.mean()), below, above, error, seeds)


def ratio_interval(first: Side, second: Side, widening: float = 1.0, long_margins: bool = False) -> tuple[float, float]:
    """The 95 % interval of the ratio of two means that cannot be negative (Donner and Zou 2012, Biometrics 68, 347).

    It contains every ratio r for which the interval of ``first - r second`` includes 0.

    Args:
        first: an entry.
        second: another over the same seeds, with replicates of the same resamples.
        widening: the margin over seeds of the difference over that of its own spread, where it is a moderated one: the
            interval of the ratio then excludes 1 where that of the difference excludes 0.
        long_margins: whether the upper margin of `second` may be longer than its mean, as that of skewed scores may be:
            the ratio can then be far lower. Otherwise its lower end is 0 in that case.

    Returns:
        Its ends; (nan, nan) if the mean of `second` is within its own margin of 0, so that there is no upper end.
    """
    matrix, seeds = correlations(np.concatenate([first.replicates, second.replicates])), len(first.values)
    own, cross, other = matrix[:seeds, :seeds], matrix[:seeds, seeds:], matrix[seeds:, seeds:]
    spread = np.zeros((2, 2))
    if seeds > 1:
        spread = np.cov(np.stack([first.values, second.values])) / seeds * (widening * _quantiles(seeds, 0.05)) ** 2

    def roots(mine: np.ndarray, theirs: np.ndarray) -> tuple[float, float, float]:
        a = second.mean**2 - (theirs @ other @ theirs) / seeds**2 - spread[1, 1]
        b = first.mean * second.mean - (mine @ cross @ theirs) / seeds**2 - spread[0, 1]
        c = first.mean**2 - (mine @ own @ mine) / seeds**2 - spread[0, 0]
        root = np.sqrt(max(b * b - a * c, 0))
        low = c / (b + root) if b + root > 0 and (a > 0 or long_margins) else 0.0  # (b - root) / a
        return low, (b + root) / a if a > 0 else np.nan, c

    low, _, significant = roots(first.lower, second.upper)
    _, high, _ = roots(first.upper, second.lower)
    if not np.isfinite(high) or second.mean <= 0:
        return float("nan"), float("nan")
    return (max(float(low), 0.0) if first.mean > 0 and significant > 0 else 0.0), max(float(high), 0.0)


def hommel(p_values: np.ndarray) -> np.ndarray:
    """Hommel's adjustment of p values (M,); NaN stays NaN and is not counted. Hommel 1988, Biometrika 75, 383.

    Holm's method assumes nothing of the dependence of the p values. This one assumes Simes' inequality, which two-sided
    tests that share a baseline, networks and test samples fulfil, and is never less powerful: where most entries
    differ, they need not be compared with the level over their number. Adjusted values by the algorithm of Wright 1992
    (Biometrics 48, 1005).

    Example:
        >>> hommel(np.array([0.01, 0.02, 0.022])).round(4).tolist()
        [0.022, 0.022, 0.022]
    """
    adjusted = np.full(len(p_values), np.nan)
    order = np.argsort(p_values)[: np.isfinite(p_values).sum()]
    p, count = p_values[order], len(order)
    if not count:
        return adjusted
    ranks = np.arange(1, count + 1)
    best = np.full(count, (count * p / ranks).min())
    for size in range(count - 1, 1, -1):
        first = count - size + 1
        simes = float((size * p[first:] / ranks[1:size]).min())
        candidates = np.minimum(size * p[:first], simes)
        best = np.maximum(best, np.concatenate([candidates, np.full(count - first, candidates[-1])]))
    adjusted[order] = np.minimum(np.maximum(best, p), 1)
    return adjusted


def holm(p_values: np.ndarray) -> np.ndarray:
    """Holm's step-down adjustment of p values (M,); NaN stays NaN and is not counted. Holm 1979.

    statsmodels' `multipletests` does not know NaN, and would be a dependency for these five lines.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
        [0.03, 0.06, 0.06]
    """
    adjusted = np.full(len(p_values), np.nan)
    order = np.argsort(p_values)[: np.isfinite(p_values).sum()]
    steps = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p_values[order] * steps), 1)
    return adjusted
