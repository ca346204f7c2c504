"""Significance over cells: Friedman's test, Nemenyi's critical difference, Wilcoxon's test with Holm's correction."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import friedmanchisquare, studentized_range, wilcoxon

from calbench.benchmark.metrics.base import better_direction, cost
from calbench.benchmark.statistics.aggregate import average_ranks, cell_values


@dataclass(frozen=True)
class RankTests:
    """Tests of whether entries differ over the cells (Demšar 2006).

    Attributes:
        cells: number of cells.
        ranks: average rank of each entry that has every cell, best first.
        left_out: entries that lack a cell, and so are not tested.
        friedman_p: p value of Friedman's test that all entries rank alike; NaN for fewer than three entries.
        critical_difference: Nemenyi's: average ranks further apart differ at `alpha`.
        wilcoxon: by entry, the p value of Wilcoxon's signed-rank test against the baseline, and with Holm's correction;
            empty where the baseline is not tested.
        alpha: the level.
    """

    cells: int
    ranks: pd.Series
    left_out: tuple[str, ...]
    friedman_p: float
    critical_difference: float
    wilcoxon: pd.DataFrame
    alpha: float


def rank_tests(
    table: pd.DataFrame,
    *,
    metric: str = "ece",
    baseline: str | None = None,
    better: str | None = None,
    alpha: float = 0.05,
) -> RankTests:
    """Test one metric of a table of results; see `aggregate` for the arguments.

    Raises:
        ValueError: as `aggregate`; fewer than two cells or two entries that have every cell.
    """
    better = better or better_direction(metric)
    values = cell_values(table, metric, better).groupby(level=["cell", "entry"], sort=False).mean().unstack("entry")
    complete = cost(values.dropna(axis=1), better)
    cells, entries = complete.shape
    if cells < 2 or entries < 2:
        raise ValueError(f"rank tests need two cells and two entries that have every cell; got {cells} and {entries}")
    friedman = float(friedmanchisquare(*complete.to_numpy().T).pvalue) if entries > 2 else float("nan")
    against = _wilcoxon_holm(complete, baseline) if baseline in complete else pd.DataFrame(columns=["p", "holm"])
    return RankTests(
        cells=cells,
        ranks=average_ranks(complete).sort_values(),
        left_out=tuple(entry for entry in values if entry not in complete),
        friedman_p=friedman,
        critical_difference=critical_difference(entries, cells, alpha),
        wilcoxon=against,
        alpha=alpha,
    )


def critical_difference(entries: int, cells: int, alpha: float = 0.05) -> float:
    """Nemenyi's critical difference of average ranks: q sqrt(k (k + 1) / (6 n)); Demšar 2006, section 3.2.2."""
    quantile = studentized_range.ppf(1 - alpha, entries, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(entries * (entries + 1) / (6 * cells)))


def _wilcoxon_holm(costs: pd.DataFrame, baseline: str | None) -> pd.DataFrame:
    others = [entry for entry in costs if entry != baseline]
    p = pd.Series({entry: _wilcoxon(costs[entry] - costs[baseline]) for entry in others}).sort_values()
    steps = len(p) - np.arange(len(p))
    return pd.DataFrame({"p": p, "holm": np.minimum(np.maximum.accumulate(p * steps), 1)}).loc[others]


def _wilcoxon(differences: pd.Series) -> float:
    return 1.0 if (differences == 0).all() else float(wilcoxon(differences).pvalue)
