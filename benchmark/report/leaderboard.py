"""The leaderboard: a table per dataset and backbone, and one over all of them, as an honest table reads."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ..results import Results
from ..statistics import aggregate, rank_tests
from .tables import Cell, Column, Mark, Row, Table
from .view import NOISE_FLOOR, ORACLE, MetricInfo, Stat, View

PROPER_SCORES = ("nll", "brier")


@dataclass(frozen=True)
class Block:
    """One part of the leaderboard; ``dataset`` and ``backbone`` are None for the one over all of them."""

    dataset: str | None
    backbone: str | None
    table: Table

    @property
    def frame(self) -> pd.DataFrame:
        """The table as a pandas frame of numbers."""
        return self.table.frame()


def leaderboard(results: Results, metric: str = "ece") -> list[Block]:
    """The leaderboard, ranked by `metric` (an error in per cent): a block a pair, then one over all pairs.

    Missing cells stay, with their reason; the oracle stands apart, unranked.
    """
    view = View(results)
    blocks = [Block(dataset, backbone, pair_table(view, dataset, backbone, metric)) for dataset, backbone in view.pairs]
    if not blocks or not view.entries:
        return blocks
    return [*blocks, Block(None, None, overall_table(view, metric))]


def protocol_lines(results: Results) -> list[str]:
    """What stands above every table: the protocol as the run tells it, the baseline, and how numbers are to be read."""
    view = View(results)
    lines = [str(line) for line in results.run.get("protocol_text", [])]
    if view.baseline:
        lines.append(
            f"Relative reductions refer to {view.baseline}; over several cells they are given as ratio of means, mean "
            "of ratios and median, which can differ in sign."
        )
    if view.comparisons.empty:
        lines.append("These results hold no comparisons: nothing is known of significance, so nothing is bold.")
    else:
        lines.append("Brackets: 95 % bootstrap intervals. Bold: the best, and all that are not significantly worse.")
    return lines


@dataclass(frozen=True)
class _Field:
    """A column and how its cell follows from the statistics of an entry."""

    column: Column
    cell: Callable[[Callable[[str], Stat], str], Cell]


def pair_table(view: View, dataset: str, backbone: str, metric: str = "ece") -> Table:
    """The leaderboard of one dataset and backbone."""
    fields = _pair_fields(view, metric)

    def cells(entry: str) -> tuple[Cell, ...]:
        return tuple(field.cell(lambda name: view.stat(dataset, backbone, entry, name), entry) for field in fields)

    def row(entry: str) -> Row:
        kind = "baseline" if entry == view.baseline else "entry"
        reasons = tuple(view.reasons(dataset, backbone, entry))
        return Row((entry,), (view.labels[entry],), _with_reasons(cells(entry), reasons), kind)

    rows = [row(entry) for entry in _ranked(view, dataset, backbone, metric)]
    oracle = tuple(field.cell(lambda name: view.oracle(dataset, backbone, name), ORACLE) for field in fields)
    if any(cell.value is not None for cell in oracle):
        blank = tuple(Cell(c.value, c.low, c.high, text=None if c.value is not None else "") for c in oracle)
        rows.append(Row((ORACLE,), ("Oracle (Bayes posterior)",), blank, "reference"))
    columns = tuple(field.column for field in fields)
    return Table(f"{dataset}-{backbone}", f"{dataset} / {backbone}", ("entry",), columns, tuple(rows))


def _ranked(view: View, dataset: str, backbone: str, metric: str) -> list[str]:
    """The entries from the best to the worst; those without a value last, in the suite's order."""
    sign = -1 if view.metric(metric).better == "higher" else 1

    def position(entry: str) -> float:
        value = view.stat(dataset, backbone, entry, metric).value
        return math.inf if value is None else sign * value

    return sorted(view.entries, key=position)


def _with_reasons(cells: tuple[Cell, ...], reasons: tuple[str, ...]) -> tuple[Cell, ...]:
    """Give the first cell of a row the reasons of what is missing, and every missing cell at least one."""
    first = cells[0]
    if first.missing:
        reasons = reasons or ("not in the results",)
    return (Cell(**(vars(first) | {"notes": (*first.notes, *reasons)})), *cells[1:]) if reasons else cells


def _pair_fields(view: View, metric: str) -> list[_Field]:
    info, accuracy = view.metric(metric), view.metric("accuracy")
    fields = [
        _Field(_column(accuracy), lambda stat, entry: _value(stat("accuracy"))),
        _Field(
            Column("accuracy_change", (f"Δ {accuracy.label}",), "points", "higher", accuracy.decimals, signed=True),
            lambda stat, entry: _change(stat("accuracy"), entry == view.baseline),
        ),
        _Field(_column(info, interval=True), lambda stat, entry: _value(stat(metric))),
    ]
    if metric == "ece":
        floor = Column("noise_floor", ("Noise floor",), info.unit, None, info.decimals)
        fields.append(_Field(floor, lambda stat, entry: Cell(stat(NOISE_FLOOR).value)))
    reduction = Column("reduction", (f"{info.label} reduction",), "%", "higher", 1, signed=True, interval=True)
    fields.append(_Field(reduction, lambda stat, entry: _reduction(stat(metric), entry == view.baseline)))
    for name in PROPER_SCORES:
        fields.append(_Field(_column(view.metric(name)), lambda stat, entry, name=name: _value(stat(name))))
    return fields


def _column(info: MetricInfo, interval: bool = False) -> Column:
    return Column(info.name, (info.label,), info.unit, info.better, info.decimals, interval=interval)


def _value(stat: Stat) -> Cell:
    marks: tuple[Mark, ...] = ("calibrated",) if stat.calibrated else ()
    return Cell(stat.value, stat.low, stat.high, marks=marks, bold=bool(stat.tied_with_best))


def _change(stat: Stat, is_baseline: bool) -> Cell:
    if is_baseline and stat.value is not None:
        return Cell(text="")
    lost = bool(stat.differs) and (stat.change or 0) < 0
    return Cell(stat.change, stat.change_low, stat.change_high, marks=("accuracy-loss",) if lost else ())


def _reduction(stat: Stat, is_baseline: bool) -> Cell:
    if is_baseline and stat.value is not None:
        return Cell(text="baseline")
    same: tuple[Mark, ...] = ("same",) if stat.differs is False else ()
    return Cell(stat.reduction, stat.reduction_low, stat.reduction_high, marks=same)


def overall_table(view: View, metric: str = "ece") -> Table:
    """The leaderboard over all pairs: every aggregate named in its head, and the number of cells that it is of."""
    info, accuracy = view.metric(metric), view.metric("accuracy")
    options = {"metric": metric, "baseline": view.baseline, "better": info.better}
    summary = aggregate(view.table, expected=len(view.pairs), **options)
    by_entry = {row["entry"]: row for row in summary.to_dict("records")}
    reduction = f"{info.label} reduction"
    columns = (
        Column("accuracy_change", ("", f"mean Δ {accuracy.label}"), "points", "higher", accuracy.decimals, signed=True),
        Column("accuracy_losses", ("", f"{accuracy.label} lost on")),
        Column(metric, ("", f"mean {info.label}"), info.unit, info.better, info.decimals),
        Column("ratio_of_means", (reduction, "ratio of means"), "%", "higher", 1, signed=True),
        Column("mean_of_ratios", (reduction, "mean of ratios"), "%", "higher", 1, signed=True),
        Column("median", (reduction, "median"), "%", "higher", 1, signed=True),
        Column("worst", (reduction, "worst case"), "%", "higher", 1, signed=True),
        Column("worse", ("", "worse than baseline on")),
        Column("win_rate", ("", "wins against others"), "%", "higher", 0),
        Column("average_rank", ("", "average rank"), "", "lower", 1),
        Column("cells", ("", "cells")),
    )
    rows = [_overall_row(view, entry, metric, by_entry.get(entry, {})) for entry in view.entries]
    rows.sort(key=lambda row: _overall_position(row, -1 if info.better == "higher" else 1))
    title = f"All datasets and backbones ({len(view.pairs)} cells)"
    return Table("overall", title, ("entry",), columns, tuple(rows), caption=_rank_line(view.table, options))


def _rank_line(table: pd.DataFrame, options: dict[str, Any]) -> str:
    """What the tests over cells say; empty where there are too few cells for them."""
    try:
        tests = rank_tests(table, **options)
    except ValueError:
        return ""
    nemenyi = (
        f"Average ranks over {tests.cells} cells differ at the {tests.alpha:g} level where they are more than "
        f"{tests.critical_difference:.2f} apart (Nemenyi)."
    )
    if math.isnan(tests.friedman_p):
        return nemenyi
    return f"Friedman's test that all rank alike: p = {tests.friedman_p:.2g}. {nemenyi}"


def _overall_position(row: Row, sign: int) -> tuple[bool, float]:
    """Entries with every cell by their mean, then those without."""
    mean = row.cells[2]
    return ("partial" in mean.marks or mean.value is None, math.inf if mean.value is None else sign * mean.value)


def _overall_row(view: View, entry: str, metric: str, summary: dict) -> Row:
    is_baseline = entry == view.baseline
    stats = [view.stat(dataset, backbone, entry, metric) for dataset, backbone in view.pairs]
    accuracies = [view.stat(dataset, backbone, entry, "accuracy") for dataset, backbone in view.pairs]
    values = [stat.value for stat in stats if stat.value is not None]
    changes = [stat.change for stat in accuracies if stat.change is not None]
    found, expected = len(values), len(view.pairs)
    partial: tuple[Mark, ...] = ("partial",) if 0 < found < expected else ()
    losses = sum(bool(stat.differs) and (stat.change or 0) < 0 for stat in accuracies)
    lost = Cell(text=f"{losses} of {len(changes)}", marks=("accuracy-loss",) if losses else ())
    blank = Cell(text="baseline")
    paired = int(summary.get("cells", 0))
    partial_pairs: tuple[Mark, ...] = ("partial",) if 0 < paired < expected else ()

    def of(key: str, marks: tuple[Mark, ...] = ()) -> Cell:
        value = summary.get(key)
        known = value is not None and math.isfinite(value)
        return Cell(float(value), marks=marks) if known else Cell()

    reductions = [of(key, partial_pairs) for key in ("ratio_of_means", "mean_of_ratios", "median", "worst")]
    compared = paired and math.isfinite(summary["worse"])
    worse = Cell(text=f"{int(summary['worse'])} of {paired}") if compared else Cell()
    cells = (
        Cell(text="") if is_baseline and changes else Cell(_mean(changes), marks=partial),
        Cell(text="") if is_baseline else lost if changes else Cell(),
        Cell(_mean(values), marks=partial),
        *([blank, Cell(text=""), Cell(text=""), Cell(text="")] if is_baseline and found else reductions),
        Cell(text="") if is_baseline and found else worse,
        of("win_rate", partial),
        of("average_rank"),
        Cell(text=f"{found} of {expected}", notes=_missing_note(view, entry, metric)),
    )
    return Row((entry,), (view.labels[entry],), cells, "baseline" if is_baseline else "entry")


def _missing_note(view: View, entry: str, metric: str) -> tuple[str, ...]:
    """One footnote that names the pairs where `entry` has no value."""
    absent = [f"{d} / {b}" for d, b in view.pairs if view.stat(d, b, entry, metric).value is None]
    if not absent:
        return ()
    shown = ", ".join(absent[:4]) + (f" and {len(absent) - 4} more" if len(absent) > 4 else "")
    return (f"missing: {shown}",)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
