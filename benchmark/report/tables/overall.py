"""The table over all datasets and backbones: proper score first, then calibration error and accuracy."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

from calbench.benchmark.config.table_layout import Mark
from calbench.benchmark.core.text import counted
from calbench.benchmark.metrics.base import relative_reduction
from calbench.benchmark.report.tables.cells import (
    BASELINE,
    BLANK,
    IN_NOISE,
    NO_BASELINE,
    NO_ESTIMATE,
    NO_RATIO,
    loses,
    worsens,
)
from calbench.benchmark.report.tables.combine import Mean, mean_over_cells
from calbench.benchmark.report.tables.table import Cell, Column, Table
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.report.tables.whole import Whole, absent, noise_line


def overall_table(view: View, metric: str = "ece", order: str = "nll") -> Table:
    """The leaderboard over all pairs; an average over fewer cells than planned is marked and not ranked.

    Args:
        view: the values.
        metric: the calibration error that is shown.
        order: the metric by which the entries are ordered.
    """
    whole = Whole(view, metric, order)
    columns = _columns(whole)
    rows = [whole.row(entry, _cells(whole, entry), columns) for entry in whole.ranked]
    title = f"All datasets and backbones ({counted(len(view.pairs), 'cell')})"
    caption = " ".join(part for part in (_order_line(whole), noise_line(whole), _disagreement(whole)) if part)
    return Table(
        "overall", title, ("entry",), columns, tuple(rows), caption, smoke=view.run.smoke, cells=len(view.pairs)
    )


def _columns(whole: Whole) -> tuple[Column, ...]:
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


def _cells(whole: Whole, entry: str) -> dict[str, Cell]:
    is_baseline = entry == whole.view.baseline
    shown = {name: _mean_cell(whole, entry, metric) for name, metric in _MEANS.items()}
    errors = [stat for _, stat in whole.stats(entry, whole.metric)]
    gone = absent(whole, entry)
    shown["debiased"] = _plain_mean(whole, [s.error for s in errors if s.debiased is not None], gone or (NO_ESTIMATE,))
    shown["noise_floor"] = _plain_mean(whole, [whole.view.floor(*pair, entry)[0] for pair in whole.view.pairs], gone)
    shown["mean"] = _mean_cell(whole, entry, whole.metric, gone)
    shown["nll_improvement"] = BASELINE if is_baseline else _improvement_cell(whole, entry)
    shown["nll_reduction"] = BLANK if is_baseline else _nll_reduction(whole, entry)
    shown["reduction"] = BASELINE if is_baseline else _reduction(whole, entry)
    shown["accuracy_change"] = BLANK if is_baseline else _accuracy_change(whole, entry)
    if is_baseline and not whole.stats(entry, whole.metric):
        shown["reduction"] = Cell()
    known = {column.key for column in _columns(whole)}
    against = dict.fromkeys(("nll_improvement", "nll_reduction", "accuracy_change"), gone or (NO_BASELINE,))
    reasons = dict.fromkeys(shown, gone) | against
    reasons["reduction"] = gone or (NO_RATIO,)
    return {
        key: replace(cell, notes=reasons[key]) if cell.missing and not cell.notes else cell
        for key, cell in shown.items()
        if key in known
    }


_MEANS = {"nll": "nll", "brier": "brier", "accuracy": "accuracy"}


def _plain_mean(whole: Whole, values: Sequence[float | None], reasons: tuple[str, ...]) -> Cell:
    """The mean of one number per cell, or the reasons why there is none."""
    known = [value for value in values if value is not None]
    return Cell(sum(known) / len(known), marks=whole.partial(len(known))) if known else Cell(notes=reasons)


def _mean_cell(whole: Whole, entry: str, metric: str, notes: tuple[str, ...] = ()) -> Cell:
    stats = whole.stats(entry, metric)
    mean = mean_over_cells([(d, s.value, s.low, s.high) for d, s in stats])
    if metric == whole.metric and mean.value is not None and mean.low is None and whole.view.tested:
        missing = [stat.interval_reason or "not in the results" for _, stat in stats if stat.low is None]
        notes = (
            *notes,
            f"no interval of the mean: none in {len(missing)} of {counted(len(stats), 'cell')} ({missing[0]})",
        )
    return _shown(mean, whole.partial(len(stats)), notes)


def _shown(mean: Mean, marks: tuple[Mark, ...] = (), notes: tuple[str, ...] = ()) -> Cell:
    return Cell(mean.value, mean.low, mean.high, marks=marks, notes=notes)


def _improvement_cell(whole: Whole, entry: str) -> Cell:
    summary = whole.nll_summary.get(entry, {})
    change, low, high = (summary.get(name, math.nan) for name in ("change", "change_low", "change_high"))
    if not math.isfinite(change):
        return Cell()
    known = math.isfinite(low) and math.isfinite(high)
    same: tuple[Mark, ...] = ("same",) if known and low <= 0 <= high else ()
    reason = str(summary.get("change_reason") or "")
    notes = (reason,) if reason and not known and whole.view.tested else ()
    lost: tuple[Mark, ...] = ("nll-loss",) if any(worsens(stat) for _, stat in whole.stats(entry, "nll")) else ()
    marks = (*same, *lost, *whole.partial(int(summary.get("cells", 0))))
    return Cell(-change, -high if known else None, -low if known else None, marks=marks, notes=notes)


def _nll_reduction(whole: Whole, entry: str) -> Cell:
    pairs = [(stat.value, stat.change) for _, stat in whole.stats(entry, "nll")]
    known = [(value, value - change) for value, change in pairs if value is not None and change is not None]
    return _ratio(known, whole.view.metric("nll").better)


def _ratio(pairs: Sequence[tuple[float, float]], better: str | None) -> Cell:
    """The relative improvement of the sum of first values over that of the second."""
    base = sum(b for _, b in pairs)
    return Cell(float(relative_reduction(sum(v for v, _ in pairs), base, better))) if base else Cell()


def _reduction(whole: Whole, entry: str) -> Cell:
    view = whole.view
    couples = [[view.stat(*pair, e, whole.metric).error for e in (entry, view.baseline or "")] for pair in
               whole.measurable]  # fmt: skip
    known = [(error, base) for error, base in couples if error is not None and base is not None]
    if not whole.measurable:
        return IN_NOISE
    cell = _ratio(known, view.metric(whole.metric).better)
    return Cell(cell.value, marks=("partial",) if 0 < len(known) < len(whole.measurable) else ())


def _accuracy_change(whole: Whole, entry: str) -> Cell:
    stats = whole.stats(entry, "accuracy")
    mean = mean_over_cells([(d, s.change, s.change_low, s.change_high) for d, s in stats])
    lost: tuple[Mark, ...] = ("accuracy-loss",) if any(loses(stat) for _, stat in stats) else ()
    return Cell(mean.value, mean.low, mean.high, marks=(*lost, *whole.partial(len(stats))))


def _order_line(whole: Whole) -> str:
    info = whole.view.metric(whole.by)
    return f"In the order of the mean {info.label}; intervals are of the means over these cells."


def _disagreement(whole: Whole) -> str:
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
    return (
        f"The orders by NLL and by {label} disagree on {swapped} of {counted(len(couples), 'pair')} of entries: {tops}."
    )
