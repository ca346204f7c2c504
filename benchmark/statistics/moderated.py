"""Spread over seeds that borrows from the other cells of a table.

From S seeds the standard error of a change has S - 1 degrees of freedom: with three seeds and 19 entries a change would
have to be 19 standard errors for a p value that survives an adjustment. The same entry was trained with as many seeds
on other datasets and backbones, and its variances there say what to expect of this one. A moderated variance is the
mean of the cell's own (S - 1 degrees) and a prior one (d0 degrees), Student's t has d0 + S - 1 degrees (Smyth 2004,
Statistical Applications in Genetics and Molecular Biology 3, 3; "limma"). d0 is small where the variances of the cells
differ by more than chance.

Entries of one cell share its networks, so that their variances are no independent evidence: a prior over the entries
does not keep its level. Here the prior is over cells, one for each entry. Its d0 is the smaller one of two estimates,
of the entry's own variances and of those of all entries, and at most a quarter of the degrees of freedom of the other
cells; with fewer than 4 of these nothing is borrowed. The coverage study has the levels, of what was tried too.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import digamma, polygamma

from calbench.benchmark.statistics.contrast import Contrast

LARGEST_SHARE = 0.25
"""The degrees of freedom of a prior over those of the other cells, at most."""

FEWEST_DEGREES = 4
"""With fewer degrees of freedom in the other cells nothing is borrowed."""

_SIZES = np.geomspace(1e-3, 1e6, 4000)
_TRIGAMMA = polygamma(1, _SIZES)


class Spread(NamedTuple):
    """The variance over seeds of one change in one cell."""

    change: str
    seeds: int
    variance: float


@dataclass(frozen=True)
class Prior:
    """What other cells say of a variance over seeds.

    Attributes:
        variance: the prior variance.
        degrees: its degrees of freedom.
    """

    variance: float
    degrees: float

    def moderate(self, contrast: Contrast) -> Contrast:
        """The contrast with the moderated standard error over seeds; as it is where its seeds do not differ at all."""
        if not contrast.seed_error > 0:
            return contrast
        own = contrast.seeds - 1
        variance = contrast.seed_error**2 * contrast.seeds
        degrees = self.degrees + own
        moderated = (self.degrees * self.variance + own * variance) / degrees
        return replace(contrast, seed_error=float(np.sqrt(moderated / contrast.seeds)), degrees=degrees)


Priors = Mapping[tuple[str, int], Prior]
"""By the change and the number of seeds."""


def priors(spreads: Iterable[Spread], largest_share: float = LARGEST_SHARE) -> Priors:
    """The prior of each change that has enough cells.

    Args:
        spreads: of one metric under one protocol: one per change and cell. Variances of 0 are left out: runs that give
            the same value (an accuracy that cannot change) say nothing of runs that do not.
        largest_share: the degrees of freedom of a prior over those of the other cells, at most.

    Example:
        >>> cells = [0.9, 1.1, 1.0, 1.2, 0.8, 1.0]
        >>> found = priors(Spread("focal", 3, variance) for variance in cells)["focal", 3]
        >>> round(found.variance, 1), found.degrees  # the cells agree: a quarter of 2 degrees in each of 5 cells
        (1.1, 2.5)
    """
    by_change: dict[tuple[str, int], list[float]] = {}
    for change, seeds, variance in spreads:
        if seeds > 1 and np.isfinite(variance) and variance > 0:
            by_change.setdefault((change, seeds), []).append(variance)
    shared = {
        seeds: _degrees(np.log(np.concatenate([v for (_, s), v in by_change.items() if s == seeds])), seeds - 1)
        for seeds in {seeds for _, seeds in by_change}
    }
    found: dict[tuple[str, int], Prior] = {}
    for (change, seeds), variances in by_change.items():
        others = (len(variances) - 1) * (seeds - 1)
        if others >= FEWEST_DEGREES:
            logs = np.log(variances)
            degrees = min(_degrees(logs, seeds - 1), shared[seeds], largest_share * others)
            centre = logs.mean() - _bias(seeds - 1) + _bias(degrees)
            found[change, seeds] = Prior(float(np.exp(centre)), degrees)
    return found


def table_priors(
    table: pd.DataFrame,
    changes: Mapping[str, tuple[str, str]],
    shared: Sequence[str] = ("split", "checkpoint", "metric"),
) -> dict[tuple[str, ...], Priors]:
    """The priors of the changes of a table of results.

    Args:
        table: tidy results with the columns dataset, backbone, entry, seed, value and debiased, and those of `shared`.
        changes: two entries by the name of their change, first minus second.
        shared: the columns whose values cells must share to say something of each other.

    Returns:
        By the values of `shared`.
    """
    compared = table["debiased"].where(np.isfinite(table["debiased"]), table["value"])
    finite = table.assign(compared=compared)[np.isfinite(table["value"])]
    cell = [*shared, "dataset", "backbone"]
    wide = finite.pivot_table(index=[*cell, "seed"], columns="entry", values="compared", sort=False)
    missing = pd.Series(np.nan, index=wide.index)
    pairs = {name: wide.get(a, missing) - wide.get(b, missing) for name, (a, b) in changes.items()}
    by_cell = pd.DataFrame(pairs, index=wide.index).groupby(level=cell, sort=False)
    variances, seeds = by_cell.var().stack(), by_cell.count().stack()
    spreads: dict[tuple[str, ...], list[Spread]] = {}
    counts = seeds.reindex(variances.index).to_numpy()
    for key, variance, count in zip(variances.index.to_list(), variances.to_numpy(), counts, strict=True):
        *place, name = key
        spreads.setdefault(tuple(place[: len(shared)]), []).append(Spread(str(name), int(count), float(variance)))
    return {key: priors(found) for key, found in spreads.items()}


def _bias(degrees: float) -> float:
    """The mean of the logarithm of a variance of 1 that is estimated with so many degrees of freedom."""
    return float(digamma(degrees / 2) - np.log(degrees / 2))


def _degrees(logs: np.ndarray, own: int) -> float:
    """d0 by the variance of log variances: trigamma(d0 / 2) is its excess over trigamma(own / 2)."""
    if len(logs) < 2:
        return 0.0
    excess = float(logs.var(ddof=1)) - float(polygamma(1, own / 2))
    if excess <= 0:
        return 1e6
    return 2 * float(np.interp(-np.log(excess), -np.log(_TRIGAMMA), _SIZES))
