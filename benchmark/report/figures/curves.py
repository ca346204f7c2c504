"""Line plots: metrics over epochs, and calibration under shift."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from calbench.benchmark.report.figures.base import (
    GRID,
    INK,
    MARKERS,
    PALETTE,
    Drawing,
    figure_kind,
    short,
    wrapped,
)
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.results.series_records import CurveRecord, EpochRecord

LINES_LIMIT = 16


@figure_kind("epochs", "ECE and accuracy of the calibration split over epochs; marks: the epochs that rules choose.")
def epochs(drawing: Drawing) -> Iterator[tuple[str, Figure]]:
    """A figure per dataset and backbone with recorded courses, a line per recipe (its first seed)."""
    view = drawing.view
    recipes = {view.records[entry].recipe for entry in drawing.entries}
    for dataset, backbone in view.pairs:
        curves: dict[str, CurveRecord] = {}
        for curve in drawing.report.results.curves:
            if (curve.dataset, curve.backbone) == (dataset, backbone) and curve.recipe in recipes and _recorded(curve):
                curves.setdefault(curve.recipe, curve)
        if curves:
            title = f"{view.short(dataset)} / {view.short(backbone)}"
            yield f"{dataset} / {backbone}", _course(drawing, title, curves)


def _recorded(curve: CurveRecord) -> bool:
    return sum(_value(epoch, "ece") is not None for epoch in curve.epochs) > 1


def _value(epoch: EpochRecord, metric: str) -> float | None:
    value = epoch.ece if metric == "ece" else epoch.accuracy
    return value if value is not None and math.isfinite(value) else None


def _course(drawing: Drawing, title: str, curves: dict[str, CurveRecord]) -> Figure:
    names = list(curves)[:LINES_LIMIT]
    rules = list(dict.fromkeys(rule for name in names for rule in curves[name].checkpoints))
    columns = 2 if drawing.look.style == "column" else 4
    figure = drawing.figure(3.0 + 0.13 * math.ceil((len(names) + len(rules)) / columns))
    upper, lower = figure.subplots(2, 1, sharex=True)
    for index, name in enumerate(names):
        colour, line = _stroke(index)
        for axes, metric in ((upper, "ece"), (lower, "accuracy")):
            _line(axes, curves[name], metric, colour, line, rules)
    hidden = len(curves) - len(names)
    upper.set_title(wrapped(drawing.title(title + (f" ({hidden} more not shown)" if hidden else "")), 60))
    upper.set_ylabel("ECE (%)")
    lower.set(xlabel="epoch", ylabel="accuracy (%)")
    upper.set_ylim(bottom=0)
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(handles=_handles(drawing.view, names, rules), loc="outside lower center", ncols=columns,
                  columnspacing=0.8, handlelength=1.4)  # fmt: skip
    return figure


def _stroke(index: int) -> tuple[str, Literal["-", "--"]]:
    return PALETTE[index % len(PALETTE)], "-" if index < len(PALETTE) else "--"


def _handles(view: View, names: Sequence[str], rules: Sequence[str]) -> list[Line2D]:
    plain = {view.records[entry].recipe: entry for entry in reversed(view.entries)}
    labels = {
        record.recipe: view.labels[entry] for entry, record in view.records.items() if record.calibrator == "none"
    }
    lines = [
        Line2D([], [], color=_stroke(i)[0], linestyle=_stroke(i)[1], label=short(labels.get(n, plain.get(n, n)), 24))
        for i, n in enumerate(names)
    ]
    marks = [
        Line2D([], [], color=INK, marker=MARKERS[i % len(MARKERS)], linestyle="none", markersize=3.5, label=rule)
        for i, rule in enumerate(rules)
    ]
    return lines + marks


def _line(axes: Axes, curve: CurveRecord, metric: str, colour: str, line: str, rules: Sequence[str]) -> None:
    values = {epoch.epoch: _value(epoch, metric) for epoch in curve.epochs}
    points = {epoch: value for epoch, value in values.items() if value is not None}
    axes.plot(list(points), list(points.values()), color=colour, linestyle=line, linewidth=0.9)
    for rule, epoch in curve.checkpoints.items():
        if epoch in points:
            marker = MARKERS[rules.index(rule) % len(MARKERS)]
            axes.plot(epoch, points[epoch], color=colour, marker=marker, markersize=4, markeredgecolor=INK,
                      markeredgewidth=0.4)  # fmt: skip
    axes.grid(color=GRID)
    axes.set_axisbelow(True)
