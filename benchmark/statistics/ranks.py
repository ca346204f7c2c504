"""Significance over datasets: Friedman, Nemenyi's critical difference, Wilcoxon with Holm's correction."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import friedmanchisquare, studentized_range, wilcoxon

from calbench.benchmark.core.text import counted
from calbench.benchmark.metrics.base import better_direction, cost
from calbench.benchmark.statistics.aggregate import block_costs, cell_values
from calbench.benchmark.statistics.contrast import holm

FEWEST_BLOCKS = 6
"""Below six blocks nothing is tested: Wilcoxon's smallest p value is 2 / 2^n, above 0.05 for five."""


@dataclass(frozen=True)
class RankTests:
    """Tests of whether entries differ over datasets (Demšar 2006).

    Attributes:
        cells: number of pairs of dataset and backbone.
        blocks: number of datasets: the backbones of one dataset share its samples, so that they are averaged first.
        ranks: average rank over the blocks of each entry that has every cell, best first.
        left_out: entries that lack a cell, and so are not tested.
        friedman_p: p value of Friedman's test that all entries rank alike; NaN for fewer than three entries.
        critical_difference: Nemenyi's: average ranks further apart differ at `alpha`.
        wilcoxon: by entry, the p value of Wilcoxon's signed-rank test against the baseline, and with Holm's correction;
            empty where the baseline is not tested.
        alpha: the level.
        reason: why nothing is tested, with fewer than `FEWEST_BLOCKS` blocks; empty where something is. The p values
            and the critical difference are NaN then, and `wilcoxon` is empty.
    """

    cells: int
    blocks: int
    ranks: pd.Series
    left_out: tuple[str, ...]
    friedman_p: float
    critical_difference: float
    wilcoxon: pd.DataFrame
    alpha: float
    reason: str


def rank_tests(
    table: pd.DataFrame,
    *,
    metric: str = "ece",
    baseline: str | None = None,
    better: str | None = None,
    alpha: float = 0.05,
) -> RankTests:
    """Test one metric of a table of results, by its debiased values where it has them; see `aggregate`.

    Raises:
        ValueError: as `aggregate`; fewer than two cells or two entries that have every cell.
    """
    better = better or better_direction(metric)
    values = cell_values(table, metric, better).compared.groupby(level=["cell", "entry"], sort=False).mean()
    costs = cost(values.unstack("entry"), better)
    complete = block_costs(costs)
    cells, (blocks, entries) = len(costs), complete.shape
    if cells < 2 or entries < 2:
        raise ValueError(f"rank tests need two cells and two entries that have every cell; got {cells} and {entries}")
    tested = blocks >= FEWEST_BLOCKS
    against = _wilcoxon_holm(complete, baseline) if tested and baseline in complete else None
    return RankTests(
        cells=cells,
        blocks=blocks,
        ranks=complete.rank(axis=1).mean().sort_values(),
        left_out=tuple(str(entry) for entry in costs if entry not in complete),
        friedman_p=float(friedmanchisquare(*complete.to_numpy().T).pvalue) if tested and entries > 2 else float("nan"),
        critical_difference=critical_difference(entries, blocks, alpha) if tested else float("nan"),
        wilcoxon=pd.DataFrame(columns=["p", "holm"]) if against is None else against,
        alpha=alpha,
        reason="" if tested else _too_few(blocks),
    )


def _too_few(blocks: int) -> str:
    few = f"{counted(blocks, 'dataset')} {'is' if blocks == 1 else 'are'} too few"
    return f"{few} to test ranks over; {FEWEST_BLOCKS} are needed"


def critical_difference(entries: int, blocks: int, alpha: float = 0.05) -> float:
    """Nemenyi's critical difference of average ranks: q sqrt(k (k + 1) / (6 n)); Demšar 2006, section 3.2.2."""
    quantile = studentized_range.ppf(1 - alpha, entries, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(entries * (entries + 1) / (6 * blocks)))


def _wilcoxon_holm(costs: pd.DataFrame, baseline: str | None) -> pd.DataFrame:
    others = [entry for entry in costs if entry != baseline]
    p = np.array([_wilcoxon(costs[entry] - costs[baseline]) for entry in others])
    return pd.DataFrame({"p": p, "holm": holm(p)}, index=others)


def _wilcoxon(differences: pd.Series) -> float:
    return 1.0 if (differences == 0).all() else float(wilcoxon(differences).pvalue)
