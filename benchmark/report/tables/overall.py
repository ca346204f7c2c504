"""The part of the leaderboard over all datasets and backbones: every aggregate named, and of how many cells it is."""

import math
from typing import Any

import pandas as pd

from calbench.benchmark.config.table_layout import Mark
from calbench.benchmark.metrics.base import cost
from calbench.benchmark.report.tables.table import Cell, Column, Row, Table
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.statistics import aggregate, rank_tests

_REDUCTIONS = {
    "ratio_of_means": "ratio of means", "mean_of_ratios": "mean of ratios", "median": "median", "worst": "worst case",
}  # fmt: skip
_BLANK = Cell(text="")


def overall_table(view: View, metric: str = "ece") -> Table:
    """The leaderboard over all pairs; an average over fewer cells than planned is marked and not ranked."""
    info = view.metric(metric)
    options = {"metric": metric, "baseline": view.baseline, "better": info.better}
    summary = aggregate(view.table, expected=len(view.pairs), **options)
    by_entry = {row["entry"]: row for row in summary.to_dict("records")}
    columns = _columns(view, metric)
    drawn = []
    for entry in view.entries:
        cells = _accuracy_cells(view, entry) | _metric_cells(view, entry, metric, by_entry.get(entry, {}))
        kind = "baseline" if entry == view.baseline else "entry"
        row = Row((entry,), (view.labels[entry],), tuple(cells[column.key] for column in columns), kind)
        drawn.append((_position(cells["mean"], info.better), row))
    rows = tuple(row for _, row in sorted(drawn, key=lambda each: each[0]))
    title = f"All datasets and backbones ({len(view.pairs)} cells)"
    return Table("overall", title, ("entry",), columns, rows, caption=_rank_line(view.table, options))


def _columns(view: View, metric: str) -> tuple[Column, ...]:
    info, accuracy = view.metric(metric), view.metric("accuracy")
    columns = []
    if view.knows("accuracy"):
        change = ("", f"mean Δ {accuracy.label}")
        unit = accuracy.unit_of_changes
        columns.append(Column("accuracy_change", change, unit, "higher", accuracy.decimals, signed=True))
        columns.append(Column("accuracy_losses", ("", f"{accuracy.label} lost on")))
    columns.append(Column("mean", ("", f"mean {info.label}"), info.unit, info.better, info.decimals))
    if view.baseline:
        group = info.reduction_label
        columns += [Column(k, (group, label), "%", "higher", 1, signed=True) for k, label in _REDUCTIONS.items()]
        columns.append(Column("worse", ("", "worse than baseline on")))
    columns.append(Column("win_rate", ("", "wins against others"), "%", "higher", 0))
    columns.append(Column("average_rank", ("", "average rank"), "", "lower", 1))
    columns.append(Column("cells", ("", "cells")))
    return tuple(columns)


def _position(mean: Cell, better: str | None) -> tuple[bool, float]:
    """Entries with every cell by their mean, then those without."""
    return ("partial" in mean.marks or mean.value is None, math.inf if mean.value is None else cost(mean.value, better))


def _accuracy_cells(view: View, entry: str) -> dict[str, Cell]:
    stats = [view.stat(dataset, backbone, entry, "accuracy") for dataset, backbone in view.pairs]
    changes = [stat.change for stat in stats if stat.change is not None]
    if not changes:
        return {"accuracy_change": Cell(), "accuracy_losses": Cell()}
    if entry == view.baseline:
        return {"accuracy_change": _BLANK, "accuracy_losses": _BLANK}
    losses = sum(bool(stat.differs) and (stat.change or 0) < 0 for stat in stats)
    lost = Cell(text=f"{losses} of {len(changes)}", marks=("accuracy-loss",) if losses else ())
    mean = Cell(sum(changes) / len(changes), marks=_partial(len(changes), len(stats)))
    return {"accuracy_change": mean, "accuracy_losses": lost}


def _metric_cells(view: View, entry: str, metric: str, summary: dict[str, Any]) -> dict[str, Cell]:
    found = {pair: view.stat(*pair, entry, metric).value for pair in view.pairs}
    values = [value for value in found.values() if value is not None]
    marks = _partial(len(values), len(found))
    paired = int(summary.get("cells", 0))
    of_pairs = _partial(paired, len(found))
    absent = [f"{dataset} / {backbone}" for (dataset, backbone), value in found.items() if value is None]
    cells = {
        "mean": Cell(sum(values) / len(values), marks=marks) if values else Cell(),
        "win_rate": _number(summary.get("win_rate"), marks),
        "average_rank": _number(summary.get("average_rank")),
        "cells": Cell(text=f"{len(values)} of {len(found)}", notes=_missing(absent)),
    }
    if entry == view.baseline and values:
        return cells | dict.fromkeys([*_REDUCTIONS, "worse"], _BLANK) | {"ratio_of_means": Cell(text="baseline")}
    compared = paired > 0 and math.isfinite(summary["worse"])
    cells["worse"] = Cell(text=f"{int(summary['worse'])} of {paired}") if compared else Cell()
    return cells | {key: _number(summary.get(key), of_pairs) for key in _REDUCTIONS}


def _partial(found: int, expected: int) -> tuple[Mark, ...]:
    return ("partial",) if 0 < found < expected else ()


def _number(value: float | None, marks: tuple[Mark, ...] = ()) -> Cell:
    return Cell(float(value), marks=marks) if value is not None and math.isfinite(value) else Cell()


def _missing(absent: list[str]) -> tuple[str, ...]:
    """One footnote that names the pairs without a value."""
    more = f" and {len(absent) - 4} more" if len(absent) > 4 else ""
    return (f"missing: {', '.join(absent[:4])}{more}",) if absent else ()


def _rank_line(table: pd.DataFrame, options: dict[str, Any]) -> str:
    """What the tests over cells say; empty where there are too few cells for them."""
    try:
        tests = rank_tests(table, **options)
    except ValueError:
        return ""
    if tests.reason:
        return f"Average ranks are not tested: {tests.reason}."
    nemenyi = (
        f"Average ranks over {tests.blocks} datasets differ at the {tests.alpha:g} level where they are more than "
        f"{tests.critical_difference:.2f} apart (Nemenyi)."
    )
    if math.isnan(tests.friedman_p):
        return nemenyi
    return f"Friedman's test that all rank alike: p = {tests.friedman_p:.2g}. {nemenyi}"
