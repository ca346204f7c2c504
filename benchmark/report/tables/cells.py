"""The cells of tables: values, changes, improvements and reductions of one metric, with their marks."""

from dataclasses import replace

from calbench.benchmark.config.table_layout import Mark
from calbench.benchmark.metrics.base import cost
from calbench.benchmark.report.tables.table import Cell
from calbench.benchmark.report.tables.view import Stat

BASELINE = Cell(text="baseline")
BLANK = Cell(text="")
NO_BASELINE = "the baseline has no value to compare with"
NO_RATIO = "no reduction: the baseline has no value, or one of 0"
NO_POSTERIOR = "the true posterior is not known"
NO_ESTIMATE = "no debiased estimate in the results"
IN_NOISE = Cell(text="in noise", marks=("baseline-in-noise",))
"""A reduction whose baseline is indistinguishable from calibrated: a ratio to noise has no meaning."""


def value_cell(stat: Stat) -> Cell:
    """The value with its interval; bold where the entry may be the best."""
    marks: tuple[Mark, ...] = ("calibrated",) if stat.calibrated else ()
    return Cell(stat.value, stat.low, stat.high, marks=marks, bold=bool(stat.tied_with_best))


def interval_cell(stat: Stat) -> Cell:
    """As `value_cell`, in a column that shows intervals: a footnote has the reason of a missing one."""
    cell = value_cell(stat)
    return cell if cell.has_interval else replace(cell, notes=_reason(stat.interval_reason))


def debiased_cell(stat: Stat) -> Cell:
    """The estimate without the upward bias of label noise; not below 0."""
    return (
        Cell(stat.error) if stat.debiased is not None else Cell(notes=(NO_ESTIMATE,) if stat.value is not None else ())
    )


def truth_cell(stat: Stat, known: bool) -> Cell:
    """The value of a metric that compares with the true posterior, or that this is not known of the dataset."""
    return value_cell(stat) if known else Cell(notes=(NO_POSTERIOR,))


def change_cell(stat: Stat) -> Cell:
    """The change against the baseline, marked where it is not significant."""
    return Cell(stat.change, stat.change_low, stat.change_high, marks=_same(stat))


def accuracy_change_cell(stat: Stat, is_baseline: bool) -> Cell:
    """The change of accuracy; a significant loss is marked."""
    if is_baseline and stat.value is not None:
        return BLANK
    notes = (stat.change_reason or NO_BASELINE,) if stat.change is None and stat.value is not None else ()
    marks: tuple[Mark, ...] = ("accuracy-loss",) if loses(stat) else ()
    return Cell(stat.change, stat.change_low, stat.change_high, marks=marks, notes=notes)


def loses(stat: Stat) -> bool:
    """Whether a metric that is better higher is significantly below the baseline's."""
    return bool(stat.differs) and (stat.change or 0) < 0


def worsens(stat: Stat) -> bool:
    """Whether a metric that is better lower is significantly above the baseline's."""
    return bool(stat.differs) and (stat.change or 0) > 0


def improvement(stat: Stat, better: str | None) -> tuple[float | None, float | None, float | None]:
    """How much better than the baseline, with its interval: positive is better for every metric."""
    sign = 1.0 if better == "higher" else -1.0
    ends = [None if end is None else sign * end for end in (stat.change_low, stat.change_high)]
    low, high = ends if sign > 0 else reversed(ends)
    return (None if stat.change is None else sign * stat.change), low, high


def improvement_cell(stat: Stat, better: str | None, is_baseline: bool) -> Cell:
    """The improvement over the baseline in the metric's own unit; of the NLL a significant loss is marked."""
    if is_baseline and stat.value is not None:
        return BASELINE
    value, low, high = improvement(stat, better)
    notes = _reason(stat.change_reason) if low is None and value is not None else ()
    if value is None and stat.value is not None:
        notes = (stat.change_reason or NO_BASELINE,)
    lost: tuple[Mark, ...] = ("nll-loss",) if better == "lower" and worsens(stat) else ()
    return Cell(value, low, high, marks=(*_same(stat), *lost), notes=notes)


def reduction_cell(stat: Stat) -> Cell:
    """The relative reduction, marked where it is not significant, with a reason where it or its interval is missing."""
    known = stat.reduction is not None and stat.reduction_low is not None
    notes = () if known or stat.value is None else _reason(stat.reduction_reason)
    if stat.reduction is None and stat.value is not None:
        notes = notes or (NO_RATIO,)
    return Cell(stat.reduction, stat.reduction_low, stat.reduction_high, marks=_same(stat), notes=notes)


def error_reduction_cell(stat: Stat, base: Stat, is_baseline: bool) -> Cell:
    """The relative reduction of a calibration error; none where the baseline's error is within its noise."""
    if is_baseline and stat.value is not None:
        return BASELINE
    if in_noise(base) and stat.value is not None:
        return IN_NOISE
    return reduction_cell(stat)


def in_noise(base: Stat) -> bool:
    """Whether a baseline's error is within noise of 0, so that no reduction of it has a meaning."""
    if base.debiased is not None:
        return base.reduction is None and bool(base.reduction_reason)
    return bool(base.calibrated)  # results of earlier versions


def reference_cell(cell: Cell) -> Cell:
    """A cell of the oracle: never bold, nothing missing, and of the marks only "calibrated"."""
    if cell.value is None:
        return BLANK
    return Cell(cell.value, cell.low, cell.high, marks=tuple(mark for mark in cell.marks if mark == "calibrated"))


def position(value: float | None, better: str | None) -> float:
    """The sort key of a value: lower is better, and infinite if it is missing."""
    return float("inf") if value is None else float(cost(value, better))


def _reason(text: str) -> tuple[str, ...]:
    return (text,) if text else ()


def _same(stat: Stat) -> tuple[Mark, ...]:
    return ("same",) if stat.differs is False else ()
