"""Aggregates over cells (pairs of dataset and backbone), each of which says what it is and of how many cells."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from calbench.benchmark.core.schema import ORACLE
from calbench.benchmark.metrics.base import better_direction, cost, relative_reduction

AGGREGATE_COLUMNS = [
    "entry", "cells", "expected", "mean", "baseline_mean", "ratio_of_means", "mean_of_ratios", "median", "worst",
    "worse", "win_rate", "average_rank",
]  # fmt: skip
"""Columns of `aggregate`.

``cells`` of ``expected`` have a value of the entry and of the baseline; all numbers but the last two are of those
cells, ``baseline_mean`` too. ``ratio_of_means`` is 100 (baseline_mean - mean) / baseline_mean; ``mean_of_ratios``,
``median`` and ``worst`` are of the reductions of the single cells; ``worse`` counts the cells where the entry is worse
than the baseline. ``win_rate`` is the share of comparisons with the other entries of the same cell that are won, per
cent, ties counting half. ``average_rank`` is among the entries that have every cell, NaN for the others.
"""


def aggregate(
    table: pd.DataFrame,
    *,
    metric: str = "ece",
    baseline: str | None,
    better: str | None = None,
    expected: int | None = None,
) -> pd.DataFrame:
    """Aggregate one metric of every entry over the cells.

    A cell's value is its mean over seeds, a reduction is of such means; both over the seeds that entry and baseline
    share. The oracle is left out.

    Args:
        table: tidy results or comparisons: columns dataset, backbone, entry, metric, value, and seed where there are
            seeds; of one split and one checkpoint rule.
        metric: the metric's name.
        baseline: the entry that reductions refer to; None where there is none.
        better: ``"lower"``, ``"higher"`` or ``"zero"`` (then all is of absolute values); what the metric registry says
            by default, and lower for what is not registered.
        expected: how many cells there should be; by default those where any entry has a value.

    Returns:
        One row per entry with `AGGREGATE_COLUMNS`, in the order of the table.

    Raises:
        ValueError: columns are missing, or values of several splits or checkpoint rules are mixed.
    """
    better = better or better_direction(metric)
    values = cell_values(table, metric, better)
    costs = cost(values.groupby(level=["cell", "entry"], sort=False).mean().unstack("entry"), better)
    ranks, wins = average_ranks(costs), _win_rates(costs)
    entries = list(dict.fromkeys(values.index.get_level_values("entry")))
    paired = _paired_means(values, entries, baseline)
    size = len(costs) if expected is None else expected
    rows = [_row(entry, paired[entry], better, size, wins[entry], ranks.get(entry, np.nan)) for entry in entries]
    return pd.DataFrame(rows, columns=AGGREGATE_COLUMNS)


def cell_values(table: pd.DataFrame, metric: str, better: str | None) -> pd.Series:
    """Values of `metric` by ``(cell, entry, seed)``, finite ones alone and without the oracle.

    Where ``better`` is ``"zero"`` they are distances from it.

    Raises:
        ValueError: columns are missing, values of several splits or checkpoint rules are mixed, or one is listed twice.
    """
    for column in ("dataset", "backbone", "entry", "metric", "value"):
        if column not in table:
            raise ValueError(f"table: no column {column!r}")
    part = table[(table["metric"] == metric) & (table["entry"] != ORACLE)].copy()
    for column in ("split", "checkpoint"):
        if column in part and part[column].fillna("").nunique() > 1:
            found = ", ".join(sorted(map(str, part[column].fillna("").unique())))
            raise ValueError(f"table: choose one {column} before aggregating; found {found}")
    part["value"] = pd.to_numeric(part["value"], errors="coerce").astype(float)
    part = part[np.isfinite(part["value"])]
    part["seed"] = pd.to_numeric(part["seed"], errors="coerce").fillna(0).astype(int) if "seed" in part else 0
    part["cell"] = list(zip(part["dataset"].astype(str), part["backbone"].fillna("").astype(str), strict=True))
    if part.duplicated(["cell", "entry", "seed"]).any():
        twice = part[part.duplicated(["cell", "entry", "seed"])].iloc[0]
        raise ValueError(f"table: {metric} of {twice['entry']!r} is listed twice for {twice['cell']}")
    values = part.set_index(["cell", "entry", "seed"])["value"]
    return values.abs() if better == "zero" else values


def _paired_means(values: pd.Series, entries: Sequence[str], baseline: str | None) -> dict[str, pd.DataFrame]:
    """Per entry a frame by cell with columns value and base, means over the seeds that both have."""
    by_entry = {entry: values.xs(entry, level="entry") for entry in entries}
    base = by_entry.get(baseline, values.iloc[:0].droplevel("entry")) if baseline else None
    paired = {}
    for entry, own in by_entry.items():
        frame = pd.DataFrame({"value": own}) if base is None else pd.DataFrame({"value": own, "base": base}).dropna()
        paired[entry] = frame.groupby(level="cell", sort=False).mean()
    return paired


def _row(
    entry: str, cells: pd.DataFrame, better: str | None, expected: int, win_rate: float, rank: float
) -> dict[str, object]:
    row: dict[str, object] = dict.fromkeys(AGGREGATE_COLUMNS, np.nan)
    row |= {"entry": entry, "cells": len(cells), "expected": expected, "win_rate": win_rate, "average_rank": rank}
    if len(cells) == 0:
        return row
    row["mean"] = cells["value"].mean()
    if "base" not in cells:
        return row
    value, base = cells["value"].to_numpy(), cells["base"].to_numpy()
    reductions = relative_reduction(value, base, better)
    row["baseline_mean"] = base.mean()
    row["ratio_of_means"] = relative_reduction(float(value.mean()), float(base.mean()), better)
    row["mean_of_ratios"] = reductions.mean()
    row["median"] = np.median(reductions)
    row["worst"] = reductions.min()
    row["worse"] = int((cost(value, better) > cost(base, better)).sum())
    return row


def _win_rates(costs: pd.DataFrame) -> dict[str, float]:
    numbers = costs.to_numpy()
    rates = {}
    for place, entry in enumerate(costs.columns):
        own = numbers[:, [place]]
        others = np.delete(numbers, place, axis=1)
        known = np.isfinite(own) & np.isfinite(others)
        won = (own < others) + 0.5 * (own == others)
        rates[entry] = 100 * float(won[known].mean()) if known.any() else float("nan")
    return rates


def average_ranks(costs: pd.DataFrame) -> pd.Series:
    """Mean rank over cells (1 is best, ties share) of the entries that have every cell.

    Args:
        costs: cells x entries; lower is better.
    """
    return costs.dropna(axis=1).rank(axis=1).mean()
