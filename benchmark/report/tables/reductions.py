"""Every aggregate of the relative reductions over all datasets and backbones, by its name, with wins and ranks."""

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import pandas as pd

from calbench.benchmark.config.table_layout import Mark
from calbench.benchmark.core.text import counted
from calbench.benchmark.report.tables.cells import BASELINE, BLANK, IN_NOISE, NO_BASELINE, NO_RATIO, loses, worsens
from calbench.benchmark.report.tables.stat import Stat
from calbench.benchmark.report.tables.table import Cell, Column, Table
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.report.tables.whole import Whole, absent, by_entry, noise_line
from calbench.benchmark.statistics import RankTests, aggregate, rank_tests

_REDUCTIONS = {
    "ratio_of_means": "ratio of means", "mean_of_ratios": "mean of ratios", "median": "median", "worst": "worst case",
}  # fmt: skip

WORSE = "Cells on which the error is above the baseline's, by however little: not tested"
COUNTS = "Worse on counts every cell with a larger error; accuracy lost on and NLL lost on only significant losses."
NOT_RANKED = "ranks need a value in every cell"
NO_OTHERS = "no other entry to compare with"


def reductions_table(view: View, metric: str = "ece", order: str = "nll") -> Table:
    """Every aggregate of the relative reductions, how often an entry is worse, its wins and average rank.

    Args:
        view: the values.
        metric: the calibration error.
        order: the metric by which the entries are ordered.
    """
    whole = Whole(view, metric, order)
    info = view.metric(metric)
    options: dict[str, Any] = {"metric": metric, "baseline": view.baseline, "better": info.better}
    summary = by_entry(aggregate(view.table, expected=len(view.pairs), **options))
    kept = view.table[[pair in set(whole.measurable) for pair in _pairs(view.table)]]
    reductions = by_entry(aggregate(kept, expected=len(whole.measurable), **options)) if len(kept) else {}
    tests = _rank_tests(view.table, options)
    columns = _reduction_columns(whole, tests)
    rows = []
    for entry in whole.ranked:
        cells = _reduction_cells(whole, entry, summary.get(entry, {}), reductions.get(entry, {}))
        cells["rank_p"] = _rank_p(whole, entry, tests)
        rows.append(whole.row(entry, cells, columns))
    counts = COUNTS if any(column.key in ("accuracy_losses", "nll_losses") for column in columns) else ""
    caption = " ".join(part for part in (noise_line(whole), counts, _rank_line(tests)) if part)
    title = f"{info.reduction_label}s over all datasets and backbones"
    return Table(
        f"overall-{metric}",
        title,
        ("entry",),
        columns,
        tuple(rows),
        caption,
        smoke=view.run.smoke,
        cells=len(view.pairs),
    )


def _pairs(table: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(table["dataset"].astype("str"), table["backbone"].astype("str"), strict=True))


def _reduction_columns(whole: Whole, tests: RankTests | None) -> tuple[Column, ...]:
    columns = [
        Column(key, (label,), "%", "higher", 1, signed=True, priority=priority)
        for (key, label), priority in zip(_REDUCTIONS.items(), (0, 1, 3, 2), strict=True)
    ]
    columns.append(Column("worse", ("worse on",), priority=1, help=WORSE))
    if whole.view.knows("accuracy"):
        lost = "Cells on which accuracy is significantly below the baseline's"
        columns.append(Column("accuracy_losses", ("accuracy lost on",), priority=3, help=lost))
    if whole.view.knows("nll"):
        lost = "Cells on which the NLL is significantly above the baseline's"
        columns.append(Column("nll_losses", ("NLL lost on",), priority=3, help=lost))
    columns.append(Column("win_rate", ("wins",), "%", "higher", 0, priority=4,
                          help="Share of comparisons with other entries of the same cell that are won"))  # fmt: skip
    columns.append(Column("average_rank", ("average rank",), "", "lower", 1, priority=4, help="1 is best"))
    if tests is not None and len(tests.wilcoxon):
        columns.append(Column("rank_p", ("p against baseline",), decimals=3, priority=4,
                              help="Wilcoxon's signed-rank test over datasets, Holm-adjusted"))  # fmt: skip
    columns.append(Column("cells", ("cells",), priority=5, help="Cells that have a value"))
    return tuple(columns)


def _reduction_cells(
    whole: Whole, entry: str, summary: Mapping[str, Any], reductions: Mapping[str, Any]
) -> dict[str, Cell]:
    count, planned = len(whole.stats(entry, whole.metric)), len(whole.view.pairs)
    gone = absent(whole, entry)
    cells = {
        "win_rate": _number(summary.get("win_rate"), whole.partial(count), gone or (NO_OTHERS,)),
        "average_rank": _number(summary.get("average_rank"), (), (*gone, NOT_RANKED)),
        "cells": Cell(text=f"{count} of {planned}", notes=gone),
        "accuracy_losses": _losses(whole, entry, "accuracy", loses, "accuracy-loss"),
        "nll_losses": _losses(whole, entry, "nll", worsens, "nll-loss"),
    }
    if entry == whole.view.baseline and count:
        return cells | dict.fromkeys([*_REDUCTIONS, "worse"], BLANK) | {"ratio_of_means": BASELINE}
    compared = int(summary.get("cells", 0))
    worse = summary.get("worse", math.nan)
    counted = compared and math.isfinite(worse)
    cells["worse"] = Cell(text=f"{int(worse)} of {compared}") if counted else Cell(notes=gone or (NO_BASELINE,))
    paired = int(reductions.get("cells", 0))
    marks: tuple[Mark, ...] = ("partial",) if 0 < paired < len(whole.measurable) else ()
    if not whole.measurable:
        return cells | dict.fromkeys(_REDUCTIONS, IN_NOISE)
    why = (
        (str(reductions.get("reduction_reason") or ""),) if reductions.get("reduction_reason") else gone or (NO_RATIO,)
    )
    return cells | {key: _number(reductions.get(key), marks, why) for key in _REDUCTIONS}


def _losses(whole: Whole, entry: str, metric: str, lost: Callable[[Stat], bool], mark: Mark) -> Cell:
    """On how many cells a metric is significantly worse than the baseline's."""
    changes = [stat for _, stat in whole.stats(entry, metric) if stat.change is not None]
    if entry == whole.view.baseline and changes:
        return BLANK
    losses = sum(lost(stat) for stat in changes)
    marks: tuple[Mark, ...] = (mark,) if losses else ()
    return (
        Cell(text=f"{losses} of {len(changes)}", marks=marks)
        if changes
        else Cell(notes=absent(whole, entry) or (NO_BASELINE,))
    )


def _number(value: float | None, marks: tuple[Mark, ...], reasons: tuple[str, ...]) -> Cell:
    """A number with its marks, or the reasons why there is none."""
    return Cell(float(value), marks=marks) if value is not None and math.isfinite(value) else Cell(notes=reasons)


def _rank_tests(table: pd.DataFrame, options: Mapping[str, Any]) -> RankTests | None:
    """The tests of average ranks; None with too few cells or entries for them."""
    try:
        return rank_tests(table, **options)
    except ValueError:
        return None


def _rank_p(whole: Whole, entry: str, tests: RankTests | None) -> Cell:
    """The adjusted p value of an entry against the baseline."""
    if tests is None or entry == whole.view.baseline:
        return BLANK
    known = entry in tests.wilcoxon.index
    p = float(cast("float", tests.wilcoxon.at[entry, "holm"])) if known else None
    return _number(p, (), (*absent(whole, entry), NOT_RANKED))


def _rank_line(tests: RankTests | None) -> str:
    """What the tests of average ranks say; empty with too few cells for them."""
    if tests is None:
        return ""
    if tests.reason:
        return f"Average ranks are not tested: {tests.reason}."
    nemenyi = (
        f"Average ranks over {counted(tests.blocks, 'dataset')} differ at the {tests.alpha:g} level if they are "
        f"more than {tests.critical_difference:.2f} apart (Nemenyi)."
    )
    if len(tests.wilcoxon):
        nemenyi += " p against baseline: Wilcoxon's signed-rank test over datasets, adjusted for the entries (Holm)."
    if math.isnan(tests.friedman_p):
        return nemenyi
    return f"Friedman test (H0: equal ranks): p = {tests.friedman_p:.2g}. {nemenyi}"
