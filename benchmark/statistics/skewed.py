"""Margins of differences and ratios of skewed means, by the skewness of their bootstrap replicates.

Margins from a spread are equal below and above. Where nearly all predictions are right, few samples carry most of an
NLL, and its change between two models is as skewed as a mean of so few. Hall's margins
(`metrics.intervals.skewed_margins`) are longer towards the samples that are missing. The level of two equal models does
not change: their difference is symmetric.

In simulations with accuracies of 98 and 99 % and 1,000 replicates, a 95 % interval of the change of the NLL between two
sharpnesses covers in 92 to 97 % of test sets of 540 samples and in 95 to 97 % of 1,000 (with equal margins: 85 to 88 %
and 90 %). With 100 replicates it covers in 89 to 94 %. No margin helps where a test set lacks most of the errors: 54 to
72 % with 100 samples.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from calbench.benchmark.metrics.intervals import skewed_margins
from calbench.benchmark.statistics.contrast import Z95, Side, difference, ratio_interval

_PRECISION = 1e-6
_FARTHEST = 1e3
"""Times the estimate: a ratio whose interval goes further has no upper end."""


def skewed(first: Side, second: Side) -> tuple[Side, Side]:
    """The two sides with margins that follow the skewness of the difference of their means.

    The replicates' noise, of variance 6 / R, is taken off the skewness (its positive-part James-Stein estimate).

    Args:
        first: an entry.
        second: another over the same seeds, with replicates of the same resamples.

    Returns:
        The sides for `difference`; with the same margins if the replicates of the difference do not vary.
    """
    skewness = _skewness((first.replicates - second.replicates).mean(axis=0))
    down, up = (margin / Z95 for margin in skewed_margins(Z95, skewness))
    return (
        replace(first, lower=first.lower * down, upper=first.upper * up),
        replace(second, lower=second.lower * up, upper=second.upper * down),
    )


def skewed_ratio_interval(first: Side, second: Side, widening: float = 1.0) -> tuple[float, float]:
    """The interval of the ratio of two means, as `ratio_interval`, with the margins of `skewed`.

    Where these margins give no upper end, since they are longer than the mean of `second`, the ends are the farthest
    ratios r for which the interval of ``first - r second``, with margins by its own skewness, includes 0. Both exclude
    1 where the interval of the difference excludes 0. The lower end is 0 where the margin is longer than the mean of
    `first`. In the simulations above reductions of the NLL are covered in 88 to 98 % of sets of 540 samples and in 93
    to 98 % of 1,000.

    Args:
        first: an entry.
        second: another over the same seeds, with replicates of the same resamples.
        widening: as of `ratio_interval`.

    Returns:
        Its ends; (nan, nan) if there is no upper end.
    """
    low, high = ratio_interval(*skewed(first, second), widening, long_margins=True)
    if np.isfinite(high) or not (first.mean > 0 and second.mean > 0):
        return low, high

    def includes(ratio: float) -> bool:
        scaled = replace(
            second, values=ratio * second.values, lower=ratio * second.lower, upper=ratio * second.upper,
            replicates=ratio * second.replicates,
        )  # fmt: skip
        found = difference(*skewed(first, scaled))
        ends = replace(found, seed_error=found.seed_error * widening).interval()
        return ends[0] <= 0 <= ends[1]

    estimate = first.mean / second.mean
    high = _end(includes, estimate, _FARTHEST)
    return (_end(includes, estimate, 1 / _FARTHEST), high) if np.isfinite(high) else (float("nan"), float("nan"))


def _end(includes: Callable[[float], bool], inside: float, factor: float) -> float:
    """Where `includes` ends between `inside` and that times `factor`; 0 or infinity if it does not."""
    outside = inside * factor
    if includes(outside):
        return 0.0 if factor < 1 else float("inf")
    while abs(outside / inside - 1) > _PRECISION:
        middle = float(np.sqrt(inside * outside))
        inside, outside = (middle, outside) if includes(middle) else (inside, middle)
    return inside


def _skewness(drawn: np.ndarray) -> float:
    """The skewness of replicates (R,), without their noise, within what a mean of equal signs can have."""
    centred = drawn - drawn.mean()
    variance = float((centred**2).mean())
    if not variance > 1e-24 * float((drawn**2).mean()):
        return 0.0
    skewness = float((centred**3).mean()) / variance**1.5
    shrunk = skewness * max(1 - 6 / len(drawn) / max(skewness**2, 1e-12), 0.0)
    return float(np.clip(shrunk, -1, 1))
