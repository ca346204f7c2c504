"""Averages values with intervals over cells, with an interval of the mean."""

import math
from collections.abc import Iterable
from typing import NamedTuple


class Mean(NamedTuple):
    """A mean over cells with its 95 % interval; None where it is not known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None


def mean_over_cells(cells: Iterable[tuple[str, float | None, float | None, float | None]]) -> Mean:
    """Average values over cells.

    The interval is of the mean over these very cells, not of other datasets. Cells of one dataset share its test
    samples, so their errors are added as if they moved together; those of different datasets are independent, so they
    add in squares. It is wider than an exact one where the cells of a dataset move apart.

    Args:
        cells: dataset, value, lower and upper end of the 95 % interval of each; without a value it is left out.

    Returns:
        The mean; its ends are None where an interval of any cell is missing.

    Example:
        >>> mean_over_cells([("a", 1.0, 0.7, 1.3), ("b", 3.0, 2.6, 3.4)])
        Mean(value=2.0, low=1.75, high=2.25)
    """
    known = [cell for cell in cells if cell[1] is not None]
    values = [value for _, value, _, _ in known if value is not None]
    if not values:
        return Mean()
    mean = sum(values) / len(values)
    below: dict[str, float] = {}
    above: dict[str, float] = {}
    for dataset, value, low, high in known:
        if value is None or low is None or high is None:
            return Mean(mean)
        below[dataset] = below.get(dataset, 0.0) + max(0.0, value - low)
        above[dataset] = above.get(dataset, 0.0) + max(0.0, high - value)
    return Mean(
        mean, mean - math.hypot(*below.values()) / len(values), mean + math.hypot(*above.values()) / len(values)
    )
