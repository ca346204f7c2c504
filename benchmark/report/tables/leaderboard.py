"""The leaderboard: a table per dataset and backbone, and two over all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd

from calbench.benchmark.core.schema import NOISE_FLOOR, NOISE_FLOOR_95, ORACLE
from calbench.benchmark.metrics.evaluation import PANEL
from calbench.benchmark.report.tables import cells as make
from calbench.benchmark.report.tables.overall import overall_table
from calbench.benchmark.report.tables.reductions import reductions_table
from calbench.benchmark.report.tables.table import Cell, Column, Row, Table
from calbench.benchmark.report.tables.view import Stat, View
from calbench.benchmark.results.records import MetricRecord

PROPER_SCORES = ("nll", "brier")


@dataclass(frozen=True)
class Block:
    """One part of the leaderboard; ``dataset`` and ``backbone`` are None for those over all of them.

    ``level`` orders the latter: the main one is 0.
    """

    dataset: str | None
    backbone: str | None
    table: Table
    level: int = 0

    @property
    def frame(self) -> pd.DataFrame:
        """The table as a pandas frame of numbers."""
        return self.table.frame()


def blocks(view: View, metric: str = "ece", order: str = "nll") -> list[Block]:
    """The leaderboard: a block per dataset and backbone, then those over several of them, the main one last.

    Missing cells stay, with their reason; the oracle is a reference and not ranked.

    Args:
        view: the values.
        metric: the calibration error whose reductions are shown.
        order: the metric by which the entries are ordered.
    """
    pairs = [Block(*pair, pair_table(view, *pair, metric, order)) for pair in view.pairs]
    if len(pairs) < 2 or not view.entries:
        return pairs
    over_all = [reductions_table(view, metric, order)] if view.baseline else []
    levels = [Block(None, None, table, level=1) for table in over_all]
    return [*pairs, *levels, Block(None, None, overall_table(view, metric, order))]


def protocol_lines(view: View) -> list[str]:
    """The lines above every table: the protocol of the run, the baseline, and how to read the numbers."""
    lines = list(view.run.protocol_text)
    if view.run.smoke:
        lines.insert(0, "SMOKE TEST: a few steps on little or generated data; the numbers mean nothing.")
    if view.baseline:
        lines.append(
            f"Improvements and relative reductions refer to {view.baseline}. Over several cells, reductions are shown "
            "as ratio of means, mean of ratios and median, which can differ in sign."
        )
    if not view.tested:
        lines.append("These results have no bootstrap replicates, so nothing is tested and nothing is bold.")
    else:
        lines.append(
            "Brackets: 95 % intervals. Bold: every entry that may be the best of its table; the one that truly is the "
            "best is bold with a probability of 95 %."
        )
    return lines


Find = Callable[[str], Stat]


@dataclass(frozen=True)
class _Field:
    """A column and how its cell follows from the statistics of an entry."""

    column: Column
    cell: Callable[[Find, str], Cell]


def pair_table(
    view: View, dataset: str, backbone: str, metric: str = "ece", order: str = "nll", uniform: bool = False
) -> Table:
    """The leaderboard of one dataset and backbone.

    Args:
        view: the values.
        dataset: its name.
        backbone: its name.
        metric: the calibration error whose reductions are shown.
        order: the metric by which the entries are ordered.
        uniform: show the errors against the true posterior wherever any dataset has one, so that all tables have the
            same columns; else only where this dataset has one.
    """
    with_truth = uniform or dataset in view.truth_datasets
    base = view.stat(dataset, backbone, view.baseline or "", metric)
    truth = partial(make.truth_cell, known=dataset in view.truth_datasets)
    fields = _fields(view, metric, base, dict.fromkeys(view.truth_metrics if with_truth else [], truth))

    def row(entry: str) -> Row:
        kind = "baseline" if entry == view.baseline else "entry"
        shown = tuple(field.cell(lambda name: view.stat(dataset, backbone, entry, name), entry) for field in fields)
        reasons = tuple(view.reasons(dataset, backbone, entry))
        return Row((entry,), (view.labels[entry],), _with_reasons(shown, reasons), kind)

    by = order if view.knows(order) else metric
    better = view.metric(by).better
    ranked = sorted(view.entries, key=lambda e: make.position(view.stat(dataset, backbone, e, by).value, better))
    rows = [row(entry) for entry in ranked]
    oracle = tuple(field.cell(lambda name: view.oracle(dataset, backbone, name), ORACLE) for field in fields)
    if any(cell.value is not None for cell in oracle):
        reference = tuple(make.reference_cell(cell) for cell in oracle)
        rows.append(Row((ORACLE,), ("Oracle (Bayes posterior)",), reference, "reference"))
    columns = tuple(field.column for field in fields)
    title = f"{dataset} / {view.short(backbone)}"
    return Table(f"{dataset}-{backbone}", title, ("entry",), columns, tuple(rows), smoke=view.run.smoke)


def _with_reasons(cells: tuple[Cell, ...], reasons: tuple[str, ...]) -> tuple[Cell, ...]:
    """Give the first cell of a row the reasons of what is missing, and every missing cell at least one."""
    cells = tuple(replace(cell, notes=cell.notes or reasons) if cell.missing else cell for cell in cells)
    first = cells[0]
    return (replace(first, notes=tuple(dict.fromkeys((*first.notes, *reasons)))), *cells[1:])


def _fields(view: View, metric: str, base: Stat, truth: Mapping[str, Callable[[Stat], Cell]]) -> list[_Field]:
    """The columns, without those of metrics that neither the run nor the table has."""
    fields = [*_accuracy_fields(view), *_score_fields(view), *_error_fields(view, metric, base)]
    fields += [_Field(_column(view.metric(name), 4), _shower(name, show)) for name, show in truth.items()]
    fields += [_Field(_column(view.metric(name), 4), _shower(name, make.value_cell)) for name in _asked_for(view)]
    return list({field.column.key: field for field in fields}.values())


def _asked_for(view: View) -> list[str]:
    """The metrics that the protocol names beyond those that every run has."""
    usual = {*PANEL, NOISE_FLOOR, NOISE_FLOOR_95, *view.truth_metrics}
    return [name for name in view.metrics if name not in usual and view.knows(name)]


def _accuracy_fields(view: View) -> list[_Field]:
    if not view.knows("accuracy"):
        return []
    info = view.metric("accuracy")
    change = Column(
        "accuracy_change", (f"Δ {info.label}",), info.unit_of_changes, "higher", info.decimals, signed=True, priority=2,
        help="Accuracy minus the baseline's",
    )  # fmt: skip

    def change_cell(find: Find, entry: str) -> Cell:
        return make.accuracy_change_cell(find("accuracy"), entry == view.baseline)

    shown = [_Field(_column(info, 1), _shower("accuracy", make.value_cell))]
    return [*shown, _Field(change, change_cell)] if view.baseline else shown


def _score_fields(view: View) -> list[_Field]:
    """The proper scores, and the improvement of the first over the baseline."""
    fields = []
    if view.knows("nll") and view.baseline:
        info = view.metric("nll")
        column = Column(
            "nll_improvement", (f"{info.label} improvement",), info.unit, "higher", info.decimals, signed=True,
            interval=True, priority=1, help="The baseline's NLL minus this one, paired over samples and seeds",
        )  # fmt: skip

        def improvement(find: Find, entry: str) -> Cell:
            return make.improvement_cell(find("nll"), info.better, entry == view.baseline)

        fields.append(_Field(column, improvement))
    for name, priority in zip(PROPER_SCORES, (0, 4), strict=True):
        if view.knows(name):
            fields.append(_Field(_column(view.metric(name), priority), _shower(name, make.value_cell)))
    return fields


def _error_fields(view: View, metric: str, base: Stat) -> list[_Field]:
    """The calibration error, its debiased estimate, its noise floor and its reduction."""
    info = view.metric(metric)
    fields = []
    if metric in view.debiased_metrics:
        debiased = Column(
            "debiased", (f"debiased {info.label}",), info.unit, info.better, info.decimals, priority=3,
            help=f"{info.label} without the part that label noise adds, not below 0; comparisons use it",
        )  # fmt: skip
        fields.append(_Field(debiased, _shower(metric, make.debiased_cell)))
    fields.append(_Field(replace(_column(info, 0), interval=True), _shower(metric, make.interval_cell)))
    if metric == "ece" and view.has_floor:
        floor = Column(
            "noise_floor", ("Noise floor",), info.unit, None, info.decimals, priority=3,
            help="Expected ECE of a perfectly calibrated classifier with these confidences on as many samples",
        )  # fmt: skip
        fields.append(_Field(floor, lambda find, entry: Cell(_floor(find))))
    if view.baseline:
        column = Column(
            "reduction", (info.reduction_label,), "%", "higher", 1, signed=True, interval=True, priority=2,
            help=f"100 x (baseline - entry) / baseline, of the {info.label}",
        )  # fmt: skip

        def reduction(find: Find, entry: str) -> Cell:
            return make.error_reduction_cell(find(metric), base, entry == view.baseline)

        fields.append(_Field(column, reduction))
    return fields


def _floor(find: Find) -> float | None:
    stored = find("ece").noise_floor
    return find(NOISE_FLOOR).value if stored is None else stored


def _column(info: MetricRecord, priority: int) -> Column:
    return Column(info.name, (info.label,), info.unit, info.better, info.decimals, priority=priority)


def _shower(name: str, show: Callable[[Stat], Cell]) -> Callable[[Find, str], Cell]:
    """How a column shows metric `name` of an entry."""
    return lambda find, entry: show(find(name))
