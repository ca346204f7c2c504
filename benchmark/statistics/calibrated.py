"""One test of perfect calibration over all seeds, and the smallest error that it would have detected."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from calbench.benchmark.statistics.calibration import inverse_of_mean

POWER = 0.8
_ONE_SIDED = float(norm.ppf(0.95))


@dataclass(frozen=True)
class CalibrationTest:
    """Whether a mean ECE over seeds is explained by perfect calibration, in the unit of the ECE.

    Attributes:
        calibrated: whether the mean is at most `threshold`: perfect calibration is not rejected at 5 %.
        floor: the mean of the mean ECE under perfect calibration.
        threshold: its 95th percentile.
        detectable: the smallest calibration error that exceeds `threshold` with a probability of 0.8 or more, however
            it is spread over the bins: what "not rejected" leaves possible.
    """

    calibrated: bool
    floor: float
    threshold: float
    detectable: float


def calibration_test(
    errors: np.ndarray, floors: np.ndarray, floors_95: np.ndarray, correlation: np.ndarray
) -> CalibrationTest:
    """Test at 5 % that the models of all seeds are calibrated.

    The mean ECE is compared with the mean of the simulated floors plus their distances to the 95th percentiles,
    combined with the correlations of the seeds' errors, which share their test samples. With one seed this is the
    simulated test itself. The detectable error follows from a bound: of all gaps with the sum L, those in proportion to
    the noise of their bins have the smallest mean plug-in error, F m(L / F) with F the sum of the bins' standard
    deviations and m(x) the mean of |N(x, 1)| (convexity of m).

    Args:
        errors: ECE of each seed (S,).
        floors: mean ECE under perfect calibration (S,); without it (NaN) the mean of the percentiles is the threshold,
            which makes the test of several seeds a weaker one.
        floors_95: its 95th percentile (S,).
        correlation: of the seeds' errors (S, S); ones where it is unknown.
    """
    if np.isnan(floors).any():
        threshold = float(floors_95.mean())
        return CalibrationTest(bool(errors.mean() <= threshold), float("nan"), threshold, float("nan"))
    margins = np.maximum(floors_95 - floors, 0)
    margin = float(np.sqrt(max(margins @ correlation @ margins, 0))) / len(errors)
    floor = float(floors.mean())
    threshold = floor + margin
    # |N(g, s)| spreads most, with s, far from 0; at 0 its standard deviation is s sqrt(1 - 2 / pi)
    needed = threshold + margin * float(norm.ppf(POWER)) / _ONE_SIDED / float(np.sqrt(1 - 2 / np.pi))
    noise = floor * float(np.sqrt(np.pi / 2))  # the sum of standard deviations: E|N(0, s)| = s sqrt(2 / pi)
    detectable = float(inverse_of_mean(needed, noise)) if noise > 0 else float("nan")
    return CalibrationTest(bool(errors.mean() <= threshold), floor, threshold, detectable)
