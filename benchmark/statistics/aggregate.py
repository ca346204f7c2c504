"""Aggregates over cells (pairs of dataset and backbone): each states what it averages, and over how many cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pandas as pd

from calbench.benchmark.core.schema import ORACLE
from calbench.benchmark.core.text import counted
from calbench.benchmark.metrics.base import better_direction, cost, metric_class, relative_reduction

AGGREGATE_COLUMNS = [
    "entry", "cells", "expected", "mean", "debiased_mean", "baseline_mean", "change", "change_low", "change_high",
    "ratio_of_means", "mean_of_ratios", "median", "worst", "worse", "within_noise", "win_rate", "average_rank",
    "change_reason", "reduction_reason",
]  # fmt: skip
"""Columns of `aggregate`.

``cells`` of ``expected`` have a value of the entry and of the baseline; all numbers except the last two are over those
cells, ``baseline_mean`` too. ``mean`` and ``baseline_mean`` are of values by the metric's published definition;
everything else is of debiased values for a calibration error. ``change`` is the mean of entry minus baseline with its
95 % interval for these cells. ``ratio_of_means`` is 100 (baseline - entry) / baseline of the two means;
``mean_of_ratios``, ``median`` and ``worst`` are of the reductions of single cells, without the ``within_noise`` cells
whose baseline is within noise of 0; ``worse`` counts the cells where the entry is worse than the baseline. ``win_rate``
is the percentage of comparisons with the other entries of the same cell that are won, ties counting half.
``average_rank`` is among the entries that have every cell, over datasets (see `average_ranks`); NaN for the others. The
reasons say why an interval or a reduction is missing.
"""

NO_COMPARISONS = "no comparisons with intervals were given"
NEAR_ZERO = "the baseline is within noise of 0"
ALL_WITHIN_NOISE = f"{NEAR_ZERO} in every cell"


@dataclass(frozen=True)
class CellValues:
    """One metric by ``(cell, entry, seed)``.

    Attributes:
        plain: by the published definition.
        compared: what is ranked and reduced: debiased where the table has debiased values.
        low: lower ends of the intervals of `compared`, at most 0 where it is within noise; NaN where unknown.
    """

    plain: pd.Series
    compared: pd.Series
    low: pd.Series


def aggregate(
    table: pd.DataFrame,
    *,
    metric: str = "ece",
    baseline: str | None,
    better: str | None = None,
    expected: int | None = None,
    comparisons: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Aggregate one metric of every entry over the cells.

    A cell's value is its mean over seeds, a reduction is of such means; both over the seeds that entry and baseline
    share. The oracle is left out.

    Args:
        table: tidy results: columns dataset, backbone, entry, metric, value, and optionally seed, debiased,
            low_signed and high; of one split and one checkpoint rule.
        metric: the metric's name.
        baseline: the entry that reductions refer to, or None.
        better: ``"lower"``, ``"higher"`` or ``"zero"`` (then everything is of absolute values); by default as the
            metric registry has it, and lower for what is not registered.
        expected: how many cells there should be; by default those where any entry has a value.
        comparisons: as of `compare`, of the same split and checkpoint rule, for the intervals of the changes.

    Returns:
        One row per entry with `AGGREGATE_COLUMNS`, in the order of the table.

    Raises:
        ValueError: columns are missing, or values of several splits or checkpoint rules are mixed.
    """
    better = better or better_direction(metric)
    values = cell_values(table, metric, better)
    costs = cost(values.compared.groupby(level=["cell", "entry"], sort=False).mean().unstack("entry"), better)
    ranks, wins = average_ranks(costs), _win_rates(costs)
    entries = list(dict.fromkeys(values.plain.index.get_level_values("entry")))
    paired = _paired_means(values, entries, baseline)
    size = len(costs) if expected is None else expected
    gaps = (cls := metric_class(metric)) is not None and cls.sampling == "gaps"
    changes = _changes(comparisons, metric)
    rows = [
        {"entry": entry, "expected": size, "win_rate": wins[entry], "average_rank": ranks.get(entry, np.nan)}
        | _row(paired[entry], better, gaps)
        | _change_interval(paired[entry], changes.get(entry, {}))
        for entry in entries
    ]
    return pd.DataFrame(rows, columns=AGGREGATE_COLUMNS)


def cell_values(table: pd.DataFrame, metric: str, better: str | None) -> CellValues:
    """Values of `metric` by ``(cell, entry, seed)``, finite ones only and without the oracle.

    If ``better`` is ``"zero"`` they are distances from it.

    Raises:
        ValueError: columns are missing, values of several splits or checkpoint rules are mixed, or one is listed twice.
    """
    for column in ("dataset", "backbone", "entry", "metric", "value"):
        if column not in table:
            raise ValueError(f"table: no column {column!r}")
    part = table[(table["metric"] == metric) & (table["entry"] != ORACLE)].copy()
    for column in ("split", "checkpoint"):
        if column in part and part[column].fillna("").nunique() > 1:
            present = ", ".join(sorted(map(str, part[column].fillna("").unique())))
            raise ValueError(f"table: choose one {column} before aggregating; it has {present}")
    for column in ("value", "debiased", "low_signed", "high"):
        numbers = part[column] if column in part else pd.Series(np.nan, index=part.index)
        part[column] = pd.to_numeric(numbers, errors="coerce").astype(float)
    part = part[np.isfinite(part["value"])]
    part["seed"] = pd.to_numeric(part["seed"], errors="coerce").fillna(0).astype(int) if "seed" in part else 0
    part["cell"] = list(zip(part["dataset"].astype(str), part["backbone"].fillna("").astype(str), strict=True))
    if part.duplicated(["cell", "entry", "seed"]).any():
        twice = part[part.duplicated(["cell", "entry", "seed"])].iloc[0]
        raise ValueError(f"table: {metric} of {twice['entry']!r} is listed twice for {twice['cell']}")
    part["compared"] = part["debiased"].where(np.isfinite(part["debiased"]), part["value"])
    frame = part.set_index(["cell", "entry", "seed"])
    plain, compared, low = frame["value"], frame["compared"], frame["low_signed"]
    if better == "zero":  # the end of the interval that is nearer to 0
        plain, compared, low = plain.abs(), compared.abs(), low.where(compared >= 0, -frame["high"])
    return CellValues(plain, compared, low)


def _paired_means(values: CellValues, entries: Sequence[str], baseline: str | None) -> dict[str, pd.DataFrame]:
    """Per entry the means over the seeds that both have, by cell: value, compared, base, base_compared, base_low."""
    frame = pd.DataFrame({"value": values.plain, "compared": values.compared, "low": values.low})
    by_entry = {entry: cast("pd.DataFrame", frame.xs(entry, level="entry")) for entry in entries}
    base = by_entry.get(baseline, frame.iloc[:0].droplevel("entry")) if baseline else None
    paired = {}
    for entry, rows in by_entry.items():
        columns = rows[["value", "compared"]]
        if base is not None:
            names = {"value": "base", "compared": "base_compared", "low": "base_low"}
            columns = columns.join(base.rename(columns=names), how="inner")
        paired[entry] = columns.groupby(level="cell", sort=False).mean()
    return paired


def _row(cells: pd.DataFrame, better: str | None, gaps: bool) -> dict[str, object]:
    if len(cells) == 0:
        return {"cells": 0}
    row: dict[str, object] = {"cells": len(cells), "mean": cells["value"].mean()}
    if gaps and not cells["compared"].equals(cells["value"]):
        row["debiased_mean"] = cells["compared"].mean()
    if "base" not in cells:
        return row
    value, base = cells["compared"].to_numpy(), cells["base_compared"].to_numpy()
    row["baseline_mean"] = cells["base"].mean()
    row["worse"] = int((cost(value, better) > cost(base, better)).sum())
    row["change"] = float((value - base).mean())
    noise = (cells["base_low"].to_numpy() <= 0) | (base <= 0 if gaps else base == 0)
    row["within_noise"] = int(noise.sum())
    if gaps:
        value, base = np.maximum(value, 0), np.maximum(base, 0)
    if noise.all():
        return row | {"reduction_reason": ALL_WITHIN_NOISE}
    row["ratio_of_means"] = relative_reduction(float(value.mean()), float(base.mean()), better)
    reductions = relative_reduction(value[~noise], base[~noise], better)
    row |= {"mean_of_ratios": reductions.mean(), "median": np.median(reductions), "worst": reductions.min()}
    left_out = f"{noise.sum()} of {counted(len(cells), 'cell')} left out of the means of ratios: " + NEAR_ZERO
    return row | {"reduction_reason": left_out if noise.any() else ""}


def _changes(comparisons: pd.DataFrame | None, metric: str) -> dict[str, dict[tuple[str, str], tuple[float, float]]]:
    """The 95 % margins of the changes, below and above, by entry and cell."""
    if comparisons is None or comparisons.empty:
        return {}
    part = comparisons[comparisons["metric"] == metric]
    changes: dict[str, dict[tuple[str, str], tuple[float, float]]] = {}
    columns = ["dataset", "backbone", "entry", "change", "change_low", "change_high"]
    for dataset, backbone, entry, change, low, high in part[columns].itertuples(index=False):
        cell = (str(dataset), "" if pd.isna(backbone) else str(backbone))
        changes.setdefault(entry, {})[cell] = (change - low, high - change)
    return changes


def _change_interval(cells: pd.DataFrame, margins: dict[tuple[str, str], tuple[float, float]]) -> dict[str, object]:
    """The interval of the mean change over exactly these cells.

    Cells of one dataset share their test samples: their margins are added, as if fully correlated; those of different
    datasets are independent, and their squares are added.
    """
    if "base" not in cells or len(cells) == 0:
        return {}
    missing = [cell for cell in cells.index if not np.isfinite(margins.get(cell, (np.nan,))).all()]
    if missing:
        where = " / ".join(missing[0])
        return {
            "change_reason": f"no interval in {counted(len(missing), 'cell')}, such as {where}"
            if margins
            else NO_COMPARISONS
        }
    by_dataset: dict[str, np.ndarray] = {}
    for cell in cells.index:
        by_dataset[cell[0]] = by_dataset.get(cell[0], np.zeros(2)) + np.array(margins[cell])
    lower, upper = np.sqrt(sum(margin**2 for margin in by_dataset.values())) / len(cells)
    change = float((cells["compared"] - cells["base_compared"]).mean())
    return {"change_low": change - lower, "change_high": change + upper, "change_reason": ""}


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
    """Mean rank over datasets (1 is best, ties share) of the entries that have every cell.

    The backbones of one dataset share its images and labels, and so are no independent evidence: their costs are
    averaged first.

    Args:
        costs: cells, pairs of dataset and backbone, x entries; lower is better.
    """
    return block_costs(costs).rank(axis=1).mean()


def block_costs(costs: pd.DataFrame) -> pd.DataFrame:
    """Datasets x the entries that have every cell: costs averaged over the backbones of a dataset."""
    complete = costs.dropna(axis=1)
    return complete.groupby([cell[0] for cell in complete.index], sort=False).mean()
