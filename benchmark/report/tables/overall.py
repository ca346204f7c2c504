"""The tables over all datasets and backbones: proper score first, and every aggregate of the reductions by its name."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from calbench.benchmark.config.table_layout import Mark
from calbench.benchmark.metrics.base import relative_reduction
from calbench.benchmark.report.tables.cells import BASELINE, BLANK, IN_NOISE, in_noise, loses, position
from calbench.benchmark.report.tables.combine import Mean, mean_over_cells
from calbench.benchmark.report.tables.table import Cell, Column, Row, Table
from calbench.benchmark.report.tables.view import Stat, View
from calbench.benchmark.statistics import aggregate, rank_tests

_REDUCTIONS = {
    "ratio_of_means": "ratio of means", "mean_of_ratios": "mean of ratios", "median": "median", "worst": "worst case",
}  # fmt: skip


@dataclass(frozen=True)
class _Overall:
    """What the tables over all cells share."""

    view: View
    metric: str
    order: str

    def stats(self, entry: str, metric: str) -> list[tuple[str, Stat]]:
        """The dataset and the statistics of an entry, for each pair that has a value."""
        known = ((d, self.view.stat(d, b, entry, metric)) for d, b in self.view.pairs)
        return [(dataset, stat) for dataset, stat in known if stat.value is not None]

    @cached_property
    def ranked(self) -> list[str]:
        """Entries with every cell by the mean of the order's metric, then those without."""
        return sorted(self.view.entries, key=lambda entry: self.place(entry, self.by))

    @property
    def by(self) -> str:
        """The metric of the order."""
        return self.order if self.view.knows(self.order) else self.metric

    def place(self, entry: str, metric: str) -> tuple[bool, float]:
        values = [stat.value for _, stat in self.stats(entry, metric) if stat.value is not None]
        mean = sum(values) / len(values) if values else None
        return len(values) < len(self.view.pairs), position(mean, self.view.metric(metric).better)

    def partial(self, count: int) -> tuple[Mark, ...]:
        return ("partial",) if 0 < count < len(self.view.pairs) else ()

    def row(self, entry: str, cells: Mapping[str, Cell], columns: Sequence[Column]) -> Row:
        kind = "baseline" if entry == self.view.baseline else "entry"
        return Row((entry,), (self.view.labels[entry],), tuple(cells[column.key] for column in columns), kind)

    @cached_property
    def nll_summary(self) -> dict[str, dict[str, Any]]:
        """The aggregates of the NLL by entry, with intervals of the changes."""
        options: dict[str, Any] = {"metric": "nll", "baseline": self.view.baseline, "expected": len(self.view.pairs)}
        return _by_entry(aggregate(self.view.table, comparisons=self.view.comparisons, **options))

    @cached_property
    def measurable(self) -> list[tuple[str, str]]:
        """The pairs whose baseline has an error above its own noise: only there is a reduction a number."""
        base = self.view.baseline or ""
        return [pair for pair in self.view.pairs if not in_noise(self.view.stat(*pair, base, self.metric))]


def overall_table(view: View, metric: str = "ece", order: str = "nll") -> Table:
    """The leaderboard over all pairs; an average over fewer cells than planned is marked and not ranked.

    Args:
        view: the values.
        metric: the calibration error that is shown.
        order: the metric by which the entries are ordered.
    """
    whole = _Overall(view, metric, order)
    columns = _columns(whole)
    rows = [whole.row(entry, _cells(whole, entry), columns) for entry in whole.ranked]
    title = f"All datasets and backbones ({len(view.pairs)} cells)"
    caption = " ".join(part for part in (_order_line(whole), _noise_line(whole), _disagreement(whole)) if part)
    return Table("overall", title, ("entry",), columns, tuple(rows), caption, smoke=view.run.smoke)


def _columns(whole: _Overall) -> tuple[Column, ...]:
    view, info = whole.view, whole.view.metric(whole.metric)
    columns: list[Column] = []
    if view.knows("nll"):
        nll = view.metric("nll")
        digits = min(nll.decimals, 3)
        if view.baseline:
            columns += [
                Column("nll_improvement", ("NLL improvement",), nll.unit, "higher", digits, signed=True, interval=True,
                       help="Mean over cells of the baseline's NLL minus the entry's"),
                Column("nll_reduction", ("NLL improvement",), "%", "higher", 1, signed=True, priority=2,
                       help="The same relative to the baseline's mean NLL"),
            ]  # fmt: skip
        else:
            columns.append(Column("nll", ("NLL",), nll.unit, "lower", digits, help="Mean over cells"))
    if view.knows("brier"):
        brier = view.metric("brier")
        columns.append(Column("brier", (brier.label,), brier.unit, "lower", min(brier.decimals, 3), priority=3,
                              help="Brier score, sum over classes, mean over cells"))  # fmt: skip
    if whole.metric in view.debiased_metrics:
        columns.append(Column("debiased", (f"debiased {info.label}",), info.unit, info.better, 2, priority=2,
                              help=f"{info.label} without the part that label noise adds, mean over cells; comparisons "
                              "use it"))  # fmt: skip
    columns.append(Column("mean", (info.label,), info.unit, info.better, min(info.decimals, 2), interval=True,
                          help=f"Mean {info.label} over cells"))  # fmt: skip
    if whole.metric == "ece" and view.has_floor:
        columns.append(Column("noise_floor", ("Noise floor",), "%", None, 2, priority=3,
                              help="Expected ECE under perfect calibration, mean over cells"))  # fmt: skip
    if view.baseline:
        columns.append(Column("reduction", (info.reduction_label,), "%", "higher", 1, signed=True, priority=1,
                              help="Ratio of means over the cells whose baseline is not within its noise"))  # fmt: skip
    if view.knows("accuracy"):
        accuracy = view.metric("accuracy")
        columns.append(Column("accuracy", (accuracy.label,), accuracy.unit, "higher", 2, priority=4,
                              help="Mean over cells"))  # fmt: skip
        if view.baseline:
            columns.append(Column("accuracy_change", (f"Δ {accuracy.label}",), accuracy.unit_of_changes, "higher", 2,
                                  signed=True, priority=1, help="Mean change of accuracy against the baseline; marked "
                                  "where it is a significant loss on any cell"))  # fmt: skip
    return tuple(columns)


def _cells(whole: _Overall, entry: str) -> dict[str, Cell]:
    is_baseline = entry == whole.view.baseline
    shown = {name: _mean_cell(whole, entry, metric) for name, metric in _MEANS.items()}
    errors = [stat for _, stat in whole.stats(entry, whole.metric)]
    shown["debiased"] = _plain_mean(whole, [stat.error for stat in errors if stat.debiased is not None])
    shown["noise_floor"] = _plain_mean(whole, [whole.view.floor(*pair, entry)[0] for pair in whole.view.pairs])
    shown["mean"] = _mean_cell(whole, entry, whole.metric, _absent(whole, entry))
    shown["nll_improvement"] = BASELINE if is_baseline else _improvement_cell(whole, entry)
    shown["nll_reduction"] = BLANK if is_baseline else _nll_reduction(whole, entry)
    shown["reduction"] = BASELINE if is_baseline else _reduction(whole, entry)
    shown["accuracy_change"] = BLANK if is_baseline else _accuracy_change(whole, entry)
    if is_baseline and not whole.stats(entry, whole.metric):
        shown["reduction"] = Cell()
    known = {column.key for column in _columns(whole)}
    return {key: cell for key, cell in shown.items() if key in known}


_MEANS = {"nll": "nll", "brier": "brier", "accuracy": "accuracy"}


def _plain_mean(whole: _Overall, values: Sequence[float | None]) -> Cell:
    """The mean of one number per cell."""
    known = [value for value in values if value is not None]
    return Cell(sum(known) / len(known), marks=whole.partial(len(known))) if known else Cell()


def _mean_cell(whole: _Overall, entry: str, metric: str, notes: tuple[str, ...] = ()) -> Cell:
    stats = whole.stats(entry, metric)
    mean = mean_over_cells([(d, s.value, s.low, s.high) for d, s in stats])
    return _shown(mean, whole.partial(len(stats)), notes)


def _shown(mean: Mean, marks: tuple[Mark, ...] = (), notes: tuple[str, ...] = ()) -> Cell:
    return Cell(mean.value, mean.low, mean.high, marks=marks, notes=notes)


def _improvement_cell(whole: _Overall, entry: str) -> Cell:
    summary = whole.nll_summary.get(entry, {})
    change, low, high = (summary.get(name, math.nan) for name in ("change", "change_low", "change_high"))
    if not math.isfinite(change):
        return Cell()
    known = math.isfinite(low) and math.isfinite(high)
    same: tuple[Mark, ...] = ("same",) if known and low <= 0 <= high else ()
    reason = str(summary.get("change_reason") or "")
    notes = (reason,) if reason and not known and whole.view.tested else ()
    marks = (*same, *whole.partial(int(summary.get("cells", 0))))
    return Cell(-change, -high if known else None, -low if known else None, marks=marks, notes=notes)


def _nll_reduction(whole: _Overall, entry: str) -> Cell:
    pairs = [(stat.value, stat.change) for _, stat in whole.stats(entry, "nll")]
    known = [(value, value - change) for value, change in pairs if value is not None and change is not None]
    return _ratio(known, whole.view.metric("nll").better)


def _ratio(pairs: Sequence[tuple[float, float]], better: str | None) -> Cell:
    """The relative improvement of the sum of first values over that of the second."""
    base = sum(b for _, b in pairs)
    return Cell(float(relative_reduction(sum(v for v, _ in pairs), base, better))) if base else Cell()


def _reduction(whole: _Overall, entry: str) -> Cell:
    view = whole.view
    couples = [[view.stat(*pair, e, whole.metric).error for e in (entry, view.baseline or "")] for pair in
               whole.measurable]  # fmt: skip
    known = [(error, base) for error, base in couples if error is not None and base is not None]
    if not whole.measurable:
        return IN_NOISE
    cell = _ratio(known, view.metric(whole.metric).better)
    return Cell(cell.value, marks=("partial",) if 0 < len(known) < len(whole.measurable) else ())


def _accuracy_change(whole: _Overall, entry: str) -> Cell:
    stats = whole.stats(entry, "accuracy")
    mean = mean_over_cells([(d, s.change, s.change_low, s.change_high) for d, s in stats])
    lost: tuple[Mark, ...] = ("accuracy-loss",) if any(loses(stat) for _, stat in stats) else ()
    return Cell(mean.value, mean.low, mean.high, marks=(*lost, *whole.partial(len(stats))))


def _absent(whole: _Overall, entry: str) -> tuple[str, ...]:
    """One footnote that names the pairs without a value."""
    absent = [f"{d} / {b}" for d, b in whole.view.pairs if whole.view.stat(d, b, entry, whole.metric).value is None]
    more = f" and {len(absent) - 4} more" if len(absent) > 4 else ""
    return (f"missing: {', '.join(absent[:4])}{more}",) if absent else ()


def _order_line(whole: _Overall) -> str:
    info = whole.view.metric(whole.by)
    return f"In the order of the mean {info.label}; intervals are of the means over these cells."


def _noise_line(whole: _Overall) -> str:
    """How many cells the reductions leave out."""
    skipped, count = len(whole.view.pairs) - len(whole.measurable), len(whole.view.pairs)
    return (
        f"Reductions leave out {skipped} of {count} cells: there the baseline is within its noise." if skipped else ""
    )


def _disagreement(whole: _Overall) -> str:
    """Where the orders by proper score and by calibration error differ: the best of each, and how many pairs."""
    view = whole.view
    if not (view.knows("nll") and view.knows(whole.metric)):
        return ""
    places = {e: (whole.place(e, "nll"), whole.place(e, whole.metric)) for e in view.entries}
    complete = {entry: (n[1], m[1]) for entry, (n, m) in places.items() if not n[0] and not m[0]}
    couples = list(itertools.combinations(complete.values(), 2))
    swapped = sum((a[0] - b[0]) * (a[1] - b[1]) < 0 for a, b in couples)
    if not swapped:
        return ""
    label = view.metric(whole.metric).label
    best = [view.labels[min(complete, key=lambda entry, i=i: complete[entry][i])] for i in (0, 1)]
    tops = f"both put {best[0]} first" if best[0] == best[1] else f"NLL puts {best[0]} first, {label} {best[1]}"
    return f"The orders by NLL and by {label} disagree on {swapped} of {len(couples)} pairs of entries: {tops}."


def reductions_table(view: View, metric: str = "ece", order: str = "nll") -> Table:
    """Every aggregate of the relative reductions, how often an entry is worse, its wins and average rank.

    Args:
        view: the values.
        metric: the calibration error.
        order: the metric by which the entries are ordered.
    """
    whole = _Overall(view, metric, order)
    info = view.metric(metric)
    options: dict[str, Any] = {"metric": metric, "baseline": view.baseline, "better": info.better}
    summary = _by_entry(aggregate(view.table, expected=len(view.pairs), **options))
    kept = view.table[[pair in set(whole.measurable) for pair in _pairs(view.table)]]
    reductions = _by_entry(aggregate(kept, expected=len(whole.measurable), **options)) if len(kept) else {}
    columns = _reduction_columns(whole)
    rows = []
    for entry in whole.ranked:
        cells = _reduction_cells(whole, entry, summary.get(entry, {}), reductions.get(entry, {}))
        rows.append(whole.row(entry, cells, columns))
    caption = " ".join(part for part in (_noise_line(whole), _rank_line(view.table, options)) if part)
    title = f"{info.reduction_label}s over all datasets and backbones"
    return Table(f"overall-{metric}", title, ("entry",), columns, tuple(rows), caption, smoke=view.run.smoke)


def _pairs(table: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(table["dataset"].astype("str"), table["backbone"].astype("str"), strict=True))


def _by_entry(summary: pd.DataFrame) -> dict[str, dict[str, Any]]:
    return {str(row["entry"]): row for row in summary.to_dict("records")}


def _reduction_columns(whole: _Overall) -> tuple[Column, ...]:
    columns = [
        Column(key, (label,), "%", "higher", 1, signed=True, priority=priority)
        for (key, label), priority in zip(_REDUCTIONS.items(), (0, 1, 3, 2), strict=True)
    ]
    columns.append(Column("worse", ("worse on",), priority=1, help="Cells on which the error is above the baseline's"))
    if whole.view.knows("accuracy"):
        lost = "Cells on which accuracy is significantly below the baseline's"
        columns.append(Column("accuracy_losses", ("accuracy lost on",), priority=3, help=lost))
    columns.append(Column("win_rate", ("wins",), "%", "higher", 0, priority=4,
                          help="Share of comparisons with other entries of the same cell that are won"))  # fmt: skip
    columns.append(Column("average_rank", ("average rank",), "", "lower", 1, priority=4, help="1 is best"))
    columns.append(Column("cells", ("cells",), priority=5, help="Cells that have a value"))
    return tuple(columns)


def _reduction_cells(
    whole: _Overall, entry: str, summary: Mapping[str, Any], reductions: Mapping[str, Any]
) -> dict[str, Cell]:
    count, planned = len(whole.stats(entry, whole.metric)), len(whole.view.pairs)
    cells = {
        "win_rate": _number(summary.get("win_rate"), whole.partial(count)),
        "average_rank": _number(summary.get("average_rank")),
        "cells": Cell(text=f"{count} of {planned}", notes=_absent(whole, entry)),
        "accuracy_losses": _losses(whole, entry),
    }
    if entry == whole.view.baseline and count:
        return cells | dict.fromkeys([*_REDUCTIONS, "worse"], BLANK) | {"ratio_of_means": BASELINE}
    compared = int(summary.get("cells", 0))
    worse = summary.get("worse", math.nan)
    cells["worse"] = Cell(text=f"{int(worse)} of {compared}") if compared and math.isfinite(worse) else Cell()
    paired = int(reductions.get("cells", 0))
    marks: tuple[Mark, ...] = ("partial",) if 0 < paired < len(whole.measurable) else ()
    if not whole.measurable:
        return cells | dict.fromkeys(_REDUCTIONS, IN_NOISE)
    return cells | {key: _number(reductions.get(key), marks) for key in _REDUCTIONS}


def _losses(whole: _Overall, entry: str) -> Cell:
    changes = [stat for _, stat in whole.stats(entry, "accuracy") if stat.change is not None]
    if entry == whole.view.baseline and changes:
        return BLANK
    losses = sum(loses(stat) for stat in changes)
    marks: tuple[Mark, ...] = ("accuracy-loss",) if losses else ()
    return Cell(text=f"{losses} of {len(changes)}", marks=marks) if changes else Cell()


def _number(value: float | None, marks: tuple[Mark, ...] = ()) -> Cell:
    return Cell(float(value), marks=marks) if value is not None and math.isfinite(value) else Cell()


def _rank_line(table: pd.DataFrame, options: Mapping[str, Any]) -> str:
    """The tests of average ranks; empty where there are too few cells for them."""
    try:
        tests = rank_tests(table, **options)
    except ValueError:
        return ""
    if tests.reason:
        return f"Average ranks are not tested: {tests.reason}."
    nemenyi = (
        f"Average ranks over {tests.blocks} datasets differ at the {tests.alpha:g} level if they are more than "
        f"{tests.critical_difference:.2f} apart (Nemenyi)."
    )
    if math.isnan(tests.friedman_p):
        return nemenyi
    return f"Friedman test (H0: equal ranks): p = {tests.friedman_p:.2g}. {nemenyi}"
