"""Figures of distributions and courses: per-sample temperatures, metrics over epochs, calibration under shift."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from calbench.benchmark.report.figures.base import (
    GRID,
    INK,
    MARKERS,
    PALETTE,
    figure_kind,
    label_outer,
    new_figure,
    short,
)
from calbench.benchmark.report.figures.metrics import looks
from calbench.benchmark.report.figures.reliability import pick
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.results.results import Results

LINES_LIMIT = 16


@figure_kind("temperatures", "Per-sample temperatures on the test split, first seed: share of samples in each bin.")
def temperatures(results: Results) -> Iterator[tuple[str, Figure]]:
    """A panel for each dataset and backbone, a line an entry that has temperatures."""
    view = View(results)
    panels = []
    for dataset, backbone in view.pairs:
        diagrams = {entry: pick(view, dataset, backbone, entry) for entry in view.entries}
        found = {entry: d["temperature"] for entry, d in diagrams.items() if d is not None and d.get("temperature")}
        if found:
            panels.append((f"{dataset} / {backbone}", found))
    if not panels:
        return
    names = list(dict.fromkeys(entry for _, found in panels for entry in found))[: len(PALETTE)]
    figure, grid = _panels(len(panels), len(names), "temperature", "share of samples")
    for axes, (title, found) in zip(grid, panels, strict=True):
        axes.set_title(short(title, 32))
        for entry in (name for name in names if name in found):
            counts = np.asarray(found[entry]["counts"], dtype=float)
            edges = found[entry]["edges"]
            axes.stairs(counts / max(counts.sum(), 1), edges, color=PALETTE[names.index(entry)])
    handles = [Line2D([], [], color=PALETTE[i], label=short(view.labels[name])) for i, name in enumerate(names)]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    yield "", figure


@figure_kind("epochs", "ECE and accuracy of the calibration split over epochs; marks: the epochs that rules choose.")
def epochs(results: Results) -> Iterator[tuple[str, Figure]]:
    """A figure for each dataset and backbone with recorded courses, a line a recipe (its first seed)."""
    view = View(results)
    for dataset, backbone in view.pairs:
        curves: dict[str, dict[str, Any]] = {}
        for curve in results.curves:
            if (curve.get("dataset"), curve.get("backbone")) == (dataset, backbone) and _recorded(curve):
                curves.setdefault(curve["recipe"], curve)
        if curves:
            yield f"{dataset} {backbone}", _course(f"{dataset} / {backbone}", curves)


def _recorded(curve: dict[str, Any]) -> bool:
    return sum(_is_number(epoch.get("ece")) for epoch in curve.get("epochs", [])) > 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _course(title: str, curves: dict[str, dict[str, Any]]) -> Figure:
    names = list(curves)[:LINES_LIMIT]
    rules = list(dict.fromkeys(rule for name in names for rule in curves[name].get("checkpoints") or {}))
    figure = new_figure(3.0 + 0.13 * math.ceil((len(names) + len(rules)) / 3))
    upper, lower = figure.subplots(2, 1, sharex=True)
    for index, name in enumerate(names):
        colour, line = PALETTE[index % len(PALETTE)], "-" if index < len(PALETTE) else "--"
        for axes, metric in ((upper, "ece"), (lower, "accuracy")):
            _line(axes, curves[name], metric, colour, line, rules)
    hidden = len(curves) - len(names)
    upper.set_title(title + (f" ({hidden} more not shown)" if hidden else ""))
    upper.set_ylabel("ECE (%)")
    lower.set(xlabel="epoch", ylabel="accuracy (%)")
    upper.set_ylim(bottom=0)
    lower.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = [
        Line2D([], [], color=PALETTE[i % len(PALETTE)], linestyle="-" if i < len(PALETTE) else "--", label=short(n, 20))
        for i, n in enumerate(names)
    ]
    handles += [
        Line2D([], [], color=INK, marker=MARKERS[i % len(MARKERS)], linestyle="none", markersize=3.5, label=rule)
        for i, rule in enumerate(rules)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, columnspacing=0.8, handlelength=1.4)
    return figure


def _line(axes: Axes, curve: dict[str, Any], metric: str, colour: str, line: str, rules: list[str]) -> None:
    points = {e["epoch"]: e[metric] for e in curve["epochs"] if _is_number(e.get(metric))}
    axes.plot(list(points), list(points.values()), color=colour, linestyle=line, linewidth=0.9)
    for rule, epoch in (curve.get("checkpoints") or {}).items():
        if epoch in points:
            marker = MARKERS[rules.index(rule) % len(MARKERS)]
            axes.plot(epoch, points[epoch], color=colour, marker=marker, markersize=4, markeredgecolor=INK,
                      markeredgewidth=0.4)  # fmt: skip
    axes.grid(color=GRID)
    axes.set_axisbelow(True)


@figure_kind("shift", "ECE on the test split and on its shifted forms, with 95 % intervals.")
def shift(results: Results) -> Iterator[tuple[str, Figure]]:
    """A panel for each dataset and backbone with shifted splits, a line an entry."""
    if "split" not in results.table:
        return
    splits = [name for name in results.table["split"].dropna().unique() if str(name).startswith("shift-")]
    views = {"test": View(results)} | {str(name): View(results, split=str(name)) for name in splits}
    view = views["test"]
    shown = view.entries[:LINES_LIMIT]
    panels = [
        pair
        for pair in view.pairs
        if any(views[str(s)].stat(*pair, entry, "ece").value is not None for s in splits for entry in shown)
    ]
    if not panels:
        return
    look = looks(view)
    figure, grid = _panels(len(panels), len(shown), "", "ECE (%)")
    for axes, pair in zip(grid, panels, strict=True):
        axes.set_title(short(" / ".join(pair), 32))
        for entry in shown:
            stats = [each.stat(*pair, entry, "ece") for each in views.values()]
            values = [math.nan if s.value is None else s.value for s in stats]
            colour, marker = look[entry]
            axes.plot(range(len(values)), values, color=colour, marker=marker, markersize=3, linewidth=0.8)
            if all(s.low is not None and s.high is not None for s in stats):
                axes.fill_between(range(len(values)), [s.low for s in stats], [s.high for s in stats], color=colour,
                                  alpha=0.12, linewidth=0)  # fmt: skip
        names = [short(name.removeprefix("shift-"), 14) for name in views]
        axes.set_xticks(range(len(views)), names, rotation=40, ha="right")
        axes.set_ylim(bottom=0)
    handles = [
        Line2D([], [], color=look[e][0], marker=look[e][1], markersize=3, label=short(view.labels[e])) for e in shown
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    yield "", figure


def _panels(count: int, legend: int, xlabel: str, ylabel: str) -> tuple[Figure, list[Axes]]:
    """A figure with `count` labelled panels in two columns, and room for a legend of `legend` lines."""
    columns = min(2, count)
    rows = math.ceil(count / columns)
    figure = new_figure(1.4 * rows + 0.13 * math.ceil(legend / 2) + 0.3)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[count:]:
        axes.remove()
    label_outer(grid, count, xlabel, ylabel)
    kept = list(grid.flat[:count])
    for axes in kept:
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
    return figure, kept
