"""Interval and debiased value of a binned calibration error: what the plug-in value is evidence of, zero included.

The plug-in error is a sum of absolute noisy gaps, so its mean lies above the population error by up to the noise floor,
and a bootstrap interval around it covers the statistic instead of the error. Here a family of hypotheses is tested: the
true gaps are `t` times a shape, with `t` from 0 (perfect calibration) upwards. Under each hypothesis every gap is
normal with its own standard deviation, so that mean and variance of the plug-in error are known in closed form; its
distribution is taken as a gamma with these two moments.

Two things are not normal. The accuracy of a cell whose predictions are nearly all right (or wrong) is skewed, and both
ends are moved by what Wilson's interval of it adds (`Gaps.skewness`). Cells with few samples, as those of classes, have
binomial gaps: without them the lower end of a calibrated sharp model is above 0 too often (in 22 to 52 % of samples).
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import gammainc, gammaincc, gammaincinv

from calbench.benchmark.metrics.gaps import Gaps
from calbench.benchmark.metrics.intervals import folded_normal

_POINTS = 129
_CELLS_AT_ONCE = 2**21
_NEARLY_NO_VARIANCE = 1e-12
_FLAT_SHARE = 0.5
"""The upper end's shape is half the observed one and half flat. Noise makes observed gaps more uneven than true ones,
and for uneven gaps the plug-in error is larger: with only the observed shape the upper end is too low (coverage 90 to
93 % at one to two noise floors; 94 to 98 % with this)."""

_LUCKY = 0.1
"""Quantile of the plug-in error under perfect calibration: a smaller error does not lower the upper end further."""


@dataclass(frozen=True)
class CalibrationInterval:
    """What a plug-in calibration error says of the population error, as fractions.

    Attributes:
        debiased: the population error under which the plug-in error has the observed mean, continued below 0 by
            reflection where the plug-in error is below its mean under perfect calibration, so that a calibrated model
            has a median near 0 however sharp it is.
        low: lower end of the interval, continued below 0 in the same way: at most 0 where perfect calibration is not
            rejected.
        high: upper end, at least 0.
    """

    debiased: float
    low: float
    high: float


def calibration_interval(gaps: Gaps, level: float = 0.95) -> CalibrationInterval:
    """Invert a two-sided test of the population error.

    The lower end is the smallest error under which a plug-in error as large as the observed one has a probability of at
    least (1 - level) / 2. The upper end is the largest error under which one as small is at least that probable
    relative to its probability under perfect calibration (the CLs rule of Read 2002, J. Phys. G 28, 2693), so that a
    plug-in error far below the noise floor does not give an interval of no width.

    Args:
        gaps: of the metric; see `Metric.gaps`.
        level: coverage.

    Example:
        >>> import numpy as np
        >>> found = calibration_interval(Gaps(np.array([0.05, 0.03]), np.array([0.004, 0.004])))
        >>> bool(0.06 < found.low < found.debiased < found.high < 0.1)
        True
    """
    tail = (1 - level) / 2
    noise = float(np.sqrt((gaps.spread**2).sum() * gaps.inflation + gaps.between))
    down, up = gaps.skewness(level)
    if not noise > 0:  # certain and right in every cell
        return CalibrationInterval(gaps.error, gaps.error - float(np.sqrt(down)), gaps.error + float(np.sqrt(up)))
    limit = max(1.5 * gaps.error + 6 * noise, 2.5 * float(gaps.spread.sum()))
    # Denser near 0, where the mean of the plug-in error bends, and near the observed error: of millions of samples the
    # probabilities would fall from 1 to 0 between two points.
    errors = limit * np.linspace(0, 1, _POINTS) ** 1.5
    near = gaps.error + noise * np.linspace(-8, 8, _POINTS)
    errors = np.unique(np.concatenate([errors, near[(near > 0) & (near < limit)]]))
    observed = _Family(gaps, errors, 0.0)
    flatter = _Family(gaps, errors, _FLAT_SHARE)
    # The lower end asks what a nearly calibrated model would give. An overconfident one has more noise than its
    # confidences say: then the observed shares are the larger bound.
    start = _Family(gaps, errors, 0.0, exact=True) if gaps.expected is not None else observed
    start = start if start.mean[0] > observed.mean[0] else observed
    debiased = _signed_inverse(errors, observed.mean, gaps.error)
    low = _signed_inverse(errors, start.quantile(1 - tail), gaps.error)
    high = _cls_upper(errors, flatter, gaps.error, tail)
    return CalibrationInterval(debiased, _further(debiased, low, down), _further(debiased, high, up))


class _Family:
    """The distribution of the plug-in error under each population error of a grid (G,), for one shape of the gaps."""

    def __init__(self, gaps: Gaps, errors: np.ndarray, flat: float, exact: bool = False) -> None:
        sizes = (1 - flat) * gaps.sizes + flat * gaps.spread * (gaps.error / gaps.spread.sum())
        error = gaps.error
        shape = sizes / error if error > 0 else gaps.spread / gaps.spread.sum()
        self.mean, variance = np.zeros(len(errors)), np.zeros(len(errors))
        step, alone = max(1, _CELLS_AT_ONCE // len(errors)), gaps.pure_noise() if exact else None
        for first in range(0, len(shape), step):
            part, spread = shape[first : first + step], gaps.spread[first : first + step]
            means, variances = folded_normal(np.outer(errors, part), spread)
            if alone is not None:  # exact at an error of 0, and the normal's moments far from it
                fading = np.exp(-0.5 * (np.outer(errors, part) / np.where(spread > 0, spread, np.inf)) ** 2)
                at_zero = folded_normal(np.zeros(len(part)), spread)
                means += fading * (alone[0][first : first + step] - at_zero[0])
                variances += fading * (alone[1][first : first + step] - at_zero[1])
            self.mean += means.sum(axis=1)
            variance += variances.sum(axis=1)
        growth = errors / error if error > 0 else np.zeros(len(errors))
        variance = (variance + gaps.between * growth**2) * gaps.inflation
        # of one sample, or of samples whose classes all move together, nothing varies: then nearly a point
        self.mean = np.maximum(self.mean, np.finfo(float).tiny)
        variance = np.maximum(variance, _NEARLY_NO_VARIANCE * self.mean**2)
        self.rate = variance / self.mean
        self.power = self.mean / self.rate

    def quantile(self, probability: float) -> np.ndarray:
        return gammaincinv(self.power, probability) * self.rate

    def below(self, value: float) -> np.ndarray:
        """The probability of a plug-in error of at most `value`."""
        return gammainc(self.power, value / self.rate)

    def above(self, value: float) -> np.ndarray:
        return gammaincc(self.power, value / self.rate)


def inverse_of_mean(value: np.ndarray | float, spread: np.ndarray | float) -> np.ndarray:
    """The mean of the normal X of standard deviation `spread` for which |X| has the mean `value`; 0 below the least."""
    ratios = np.concatenate([np.linspace(0, 5, 2001), np.geomspace(5.01, 1e6, 200)])
    means, _ = folded_normal(ratios, np.ones(1))
    return np.interp(np.asarray(value) / spread, means, ratios) * spread


def _further(centre: float, end: float, squared: float) -> float:
    """An end of an interval around `centre` whose squared margin grows by `squared`."""
    return centre + float(np.copysign(np.hypot(end - centre, np.sqrt(squared)), end - centre))


def _signed_inverse(errors: np.ndarray, curve: np.ndarray, value: float) -> float:
    """Where a rising curve reaches `value`; below its start, minus where it reaches as far above its start."""
    curve = np.maximum.accumulate(curve)
    if value >= curve[0]:
        return float(np.interp(value, curve, errors))
    return -float(np.interp(2 * curve[0] - value, curve, errors))


def _cls_upper(errors: np.ndarray, family: _Family, value: float, tail: float) -> float:
    # A gamma has next to no density at 0, where gaps of few cells do have some.
    value = max(value, float(family.quantile(_LUCKY)[0]))
    below = family.below(value)
    ratio = np.minimum.accumulate(np.log(np.maximum(below / below[0], 1e-300)))
    return float(np.interp(-np.log(tail), -ratio, errors))
