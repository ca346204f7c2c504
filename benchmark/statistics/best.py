"""Which entries may be the best: a confidence set for the best entry of a table.

Each entry has the hypothesis that no other entry is better than it. An entry whose hypothesis is rejected at 5 % is out
of the set, so that an entry that truly is the best stays in it with a probability of 95 %: subset selection (Gupta
1965, Technometrics 7, 225) and multiple comparisons with the best (Hsu 1984, Annals of Statistics 12, 1136). These take
one variance for all entries, which training runs do not have. Here the one-sided p values against every other entry,
each with its own paired variance, are combined by their harmonic mean (Wilson 2019, PNAS 116, 1195), which keeps its
level where they depend on each other, as they do: all of them contain the entry itself.

An adjustment such as Holm's multiplies by the number of entries even where all the others agree: with three seeds and
twelve entries a difference would have to be 15 standard errors. The harmonic mean multiplies by it only where few of
the others are better.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import landau

from calbench.benchmark.statistics.contrast import Contrast


def best_p_values(entries: Sequence[str], compare: Callable[[str, str], Contrast | None]) -> dict[str, float]:
    """For each entry the p value of the hypothesis that no other entry is better.

    Args:
        entries: those that can be the best.
        compare: the contrast of two entries, first minus second as costs; None where it cannot be given.

    Returns:
        NaN for an entry that cannot be compared with any other; 1 for an only entry.
    """
    one_sided: dict[str, list[float]] = {entry: [] for entry in entries}
    for place, first in enumerate(entries):
        for second in entries[:place]:
            contrast = compare(first, second)
            if contrast is not None:
                worse = one_sided_p(contrast)
                one_sided[first].append(worse)
                one_sided[second].append(1 - worse)
    if len(entries) == 1:
        return {entries[0]: 1.0}
    return {entry: harmonic_mean_p(np.array(values)) for entry, values in one_sided.items()}


def one_sided_p(contrast: Contrast) -> float:
    """The p value of the hypothesis that a contrast is not above 0."""
    half = contrast.p_value() / 2
    return half if contrast.estimate > 0 else 1 - half


def harmonic_mean_p(p_values: np.ndarray) -> float:
    """One p value from several (L,) of one hypothesis, by their harmonic mean h.

    1 / h of independent p values has Landau's distribution for large L, moved by log L + 1 - gamma (Wilson 2019,
    equation 4); positive dependence makes it smaller. One p value is returned as it is; NaN for none.

    Example:
        >>> round(harmonic_mean_p(np.array([0.01, 0.01, 0.01])), 3)
        0.011
    """
    count = len(p_values)
    if count < 2:
        return float(p_values[0]) if count else float("nan")
    inverse = float((1 / np.maximum(p_values, 1e-300)).mean())
    # scipy's scale is 1 where the limit's is pi / 2
    place = (inverse - np.log(count) - 1 + np.euler_gamma - np.log(np.pi / 2)) / (np.pi / 2)
    return float(landau.sf(place))
