"""The leaderboard: a table per dataset and backbone, and one over all of them, as an honest table reads."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from calbench.benchmark.config.table_layout import Mark
from calbench.benchmark.core.schema import NOISE_FLOOR, ORACLE
from calbench.benchmark.metrics.base import cost
from calbench.benchmark.report.tables.overall import overall_table
from calbench.benchmark.report.tables.table import Cell, Column, Row, Table
from calbench.benchmark.report.tables.view import MetricInfo, Stat, View
from calbench.benchmark.results.results import Results

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
    """The leaderboard, ranked by `metric` (an error in per cent): a block a pair, then one over several pairs.

    Missing cells stay, with their reason; the oracle stands apart, unranked.
    """
    view = View(results)
    blocks = [Block(dataset, backbone, pair_table(view, dataset, backbone, metric)) for dataset, backbone in view.pairs]
    if len(blocks) < 2 or not view.entries:
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
    if view.comparisons["low"].isna().all():
        lines.append("These results hold no replicates: nothing is known of significance, so nothing is bold.")
    else:
        lines.append("Brackets: 95 % bootstrap intervals. Bold: the best, and all that are not significantly worse.")
    return lines


@dataclass(frozen=True)
class _Field:
    """A column and how its cell follows from the statistics of an entry."""

    column: Column
    cell: Callable[[Callable[[str], Stat], str], Cell]


def pair_table(view: View, dataset: str, backbone: str, metric: str = "ece", uniform: bool = False) -> Table:
    """The leaderboard of one dataset and backbone.

    The errors against the true posterior are columns where the dataset's is known; with `uniform` they are columns
    wherever any dataset's is, so that all tables have the same ones.
    """
    with_truth = uniform or dataset in view.truth_datasets
    fields = _pair_fields(view, metric, view.truth_metrics if with_truth else [])

    def cells(entry: str) -> tuple[Cell, ...]:
        return tuple(field.cell(lambda name: view.stat(dataset, backbone, entry, name), entry) for field in fields)

    def row(entry: str) -> Row:
        kind = "baseline" if entry == view.baseline else "entry"
        reasons = tuple(view.reasons(dataset, backbone, entry))
        return Row((entry,), (view.labels[entry],), _with_reasons(cells(entry), reasons), kind)

    rows = [row(entry) for entry in _ranked(view, dataset, backbone, metric)]
    oracle = tuple(field.cell(lambda name: view.oracle(dataset, backbone, name), ORACLE) for field in fields)
    if any(cell.value is not None for cell in oracle):
        cells_of_oracle = tuple(map(_as_reference, oracle))
        rows.append(Row((ORACLE,), ("Oracle (Bayes posterior)",), cells_of_oracle, "reference"))
    columns = tuple(field.column for field in fields)
    return Table(f"{dataset}-{backbone}", f"{dataset} / {backbone}", ("entry",), columns, tuple(rows))


def _as_reference(cell: Cell) -> Cell:
    """A cell of the oracle: never bold, nothing missing, and of the marks "calibrated" alone."""
    if cell.value is None:
        return Cell(text="")
    return Cell(cell.value, cell.low, cell.high, marks=tuple(mark for mark in cell.marks if mark == "calibrated"))


def _ranked(view: View, dataset: str, backbone: str, metric: str) -> list[str]:
    """The entries from the best to the worst; those without a value last, in the suite's order."""
    better = view.metric(metric).better

    def position(entry: str) -> float:
        value = view.stat(dataset, backbone, entry, metric).value
        return math.inf if value is None else cost(value, better)

    return sorted(view.entries, key=position)


def _with_reasons(cells: tuple[Cell, ...], reasons: tuple[str, ...]) -> tuple[Cell, ...]:
    """Give the first cell of a row the reasons of what is missing, and every missing cell at least one."""
    first = cells[0]
    if first.missing:
        reasons = reasons or ("not in the results",)
    return (Cell(**(vars(first) | {"notes": (*first.notes, *reasons)})), *cells[1:]) if reasons else cells


def _pair_fields(view: View, metric: str, truth: list[str]) -> list[_Field]:
    """The columns, but those of metrics that neither the run nor the table knows of."""
    info, accuracy = view.metric(metric), view.metric("accuracy")
    fields = []
    if view.knows("accuracy"):
        fields.append(_Field(_column(accuracy), lambda stat, entry: _value(stat("accuracy"))))
        change = (f"Δ {accuracy.label}",)
        column = Column("accuracy_change", change, accuracy.unit_of_changes, "higher", accuracy.decimals, signed=True)
        fields.append(_Field(column, lambda stat, entry: _change(stat("accuracy"), entry == view.baseline)))
    fields.append(_Field(_column(info, interval=True), lambda stat, entry: _value(stat(metric))))
    if metric == "ece" and view.knows(NOISE_FLOOR):
        floor = Column("noise_floor", ("Noise floor",), info.unit, None, info.decimals)
        fields.append(_Field(floor, lambda stat, entry: Cell(stat(NOISE_FLOOR).value)))
    if view.baseline:
        column = Column("reduction", (info.reduction_label,), "%", "higher", 1, signed=True, interval=True)
        fields.append(_Field(column, lambda stat, entry: _reduction(stat(metric), entry == view.baseline)))
    for name in PROPER_SCORES:
        if view.knows(name):
            fields.append(_Field(_column(view.metric(name)), lambda stat, entry, name=name: _value(stat(name))))
    fields += [_Field(_column(view.metric(name)), lambda stat, entry, name=name: _exact(stat(name))) for name in truth]
    return list({field.column.key: field for field in fields}.values())


def _column(info: MetricInfo, interval: bool = False) -> Column:
    return Column(info.name, (info.label,), info.unit, info.better, info.decimals, interval=interval)


def _value(stat: Stat) -> Cell:
    marks: tuple[Mark, ...] = ("calibrated",) if stat.calibrated else ()
    return Cell(stat.value, stat.low, stat.high, marks=marks, bold=bool(stat.tied_with_best))


def _exact(stat: Stat) -> Cell:
    """An error against the true posterior; blank on a dataset whose posterior nobody knows."""
    return _value(stat) if stat.value is not None else Cell(text="")


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
