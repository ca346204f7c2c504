"""Reliability diagrams from the stored bins: one, or a grid of every entry of a dataset and backbone."""

import math
from collections.abc import Iterator
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from calbench.benchmark.report.figures.base import GRID, INK, PALETTE, figure_kind, new_figure, short
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.results.results import Results

OVER, UNDER, BAR = PALETTE[1], PALETTE[0], "#b9c4cc"
GRID_LIMIT = 24
"""Panels in one grid; more are told, not drawn."""


def stored_bins(diagram: dict[str, Any]) -> list[dict[str, float]]:
    """The bins that hold samples, complete."""
    keys = ("low", "high", "count", "confidence", "accuracy", "accuracy_low", "accuracy_high")
    bins = [{key: _number(each.get(key)) for key in keys} for each in diagram.get("bins") or []]
    return [each for each in bins if each["count"] > 0 and math.isfinite(each["confidence"] + each["accuracy"])]


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def pick(view: View, dataset: str, backbone: str, entry: str) -> dict[str, Any] | None:
    """The diagram of an entry's first seed, at the view's split and checkpoint."""
    for diagram in view.results.diagrams:
        where = (diagram.get("dataset"), diagram.get("backbone"), diagram.get("entry"), diagram.get("split"))
        if where == (dataset, backbone, entry, view.split) and diagram.get("checkpoint") in (None, view.checkpoint):
            return diagram
    return None


def draw_reliability(axes: Axes, below: Axes, diagram: dict[str, Any]) -> None:
    """Draw accuracy by confidence into `axes` and the histogram of confidences into `below`."""
    bins = stored_bins(diagram)
    total = sum(each["count"] for each in bins) or 1
    for each in bins:
        low, width = each["low"], each["high"] - each["low"]
        accuracy, confidence = each["accuracy"], each["confidence"]
        axes.bar(low, accuracy, width, align="edge", color=BAR, edgecolor="white", linewidth=0.4)
        gap_colour = OVER if confidence > accuracy else UNDER
        bottom, height = min(accuracy, confidence), abs(confidence - accuracy)
        axes.bar(low, height, width, bottom, align="edge", color=gap_colour, alpha=0.55, linewidth=0)
        if math.isfinite(each["accuracy_low"] + each["accuracy_high"]):
            centre = low + width / 2
            axes.plot([centre, centre], [each["accuracy_low"], each["accuracy_high"]], color=INK, linewidth=0.7)
        below.bar(low, each["count"] / total, width, align="edge", color="#6b7780", edgecolor="white", linewidth=0.4)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle=(0, (3, 2)))
    axes.set(xlim=(0, 1), ylim=(0, 1), yticks=[0, 0.5, 1])
    axes.tick_params(labelbottom=False)
    below.set(xlim=(0, 1), xticks=[0, 0.5, 1])
    below.yaxis.set_major_locator(MaxNLocator(1))
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)


def reliability_figure(diagram: dict[str, Any], title: str) -> Figure:
    """One reliability diagram, two thirds of a column wide."""
    figure = new_figure(2.6, 2.3)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[4, 1])
    draw_reliability(axes, below, diagram)
    axes.set_title(title)
    axes.set_ylabel("accuracy")
    below.set(xlabel="confidence", ylabel="share")
    _legend(figure)
    return figure


def _legend(figure: Figure) -> None:
    signs = ((OVER, "over-confident"), (UNDER, "under-confident"))
    handles = [Patch(color=colour, alpha=0.55, linewidth=0, label=label) for colour, label in signs]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)


@figure_kind("reliability", "Reliability diagrams of the first seed, with 95 % intervals of each bin's accuracy.")
def reliability_grids(results: Results) -> Iterator[tuple[str, Figure]]:
    """A grid for each dataset and backbone, a panel an entry."""
    view = View(results)
    for dataset, backbone in view.pairs:
        found = [(entry, pick(view, dataset, backbone, entry)) for entry in view.entries]
        panels = [(view.labels[entry], diagram) for entry, diagram in found if diagram is not None]
        if panels:
            yield f"{dataset} {backbone}", _grid(panels, f"{dataset} / {backbone}")


@figure_kind("reliability-baseline", "Reliability of the baseline and of the entry with the lowest ECE, first seed.")
def reliability_baseline(results: Results) -> Iterator[tuple[str, Figure]]:
    """For the whole suite: each dataset and backbone's baseline beside its best entry."""
    view = View(results)
    panels = []
    for dataset, backbone in view.pairs:
        values = {entry: view.stat(dataset, backbone, entry, "ece").value for entry in view.entries}
        known = {entry: value for entry, value in values.items() if value is not None}
        if view.baseline not in known:
            continue
        for entry in dict.fromkeys((view.baseline, min(known, key=known.__getitem__))):
            diagram = pick(view, dataset, backbone, entry)
            if diagram is not None:
                panels.append((f"{dataset} / {backbone}\n{short(view.labels[entry], 26)}", diagram))
    if panels:
        yield "", _grid(panels, "", columns=2)


def _grid(panels: list[tuple[str, dict[str, Any]]], title: str, columns: int = 3) -> Figure:
    shown = panels[:GRID_LIMIT]
    rows = math.ceil(len(shown) / columns)
    panel_height = 1.25 if columns == 3 else 1.6
    figure = new_figure(0.55 + panel_height * rows)
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[4, 1] * rows)
    for index, (label, diagram) in enumerate(shown):
        row, column = divmod(index, columns)
        axes = figure.add_subplot(grid[2 * row, column])
        below = figure.add_subplot(grid[2 * row + 1, column])
        draw_reliability(axes, below, diagram)
        axes.set_title(short(label, 22) if "\n" not in label else label, fontsize=6)
        axes.tick_params(labelleft=column == 0, labelsize=5)
        below.tick_params(labelbottom=index + columns >= len(shown), labelsize=5)
        if column == 0:
            axes.set_ylabel("accuracy")
            below.set_ylabel("share", fontsize=5)
        if index + columns >= len(shown):
            below.set_xlabel("confidence")
    hidden = len(panels) - len(shown)
    figure.suptitle(title + (f" ({hidden} more not shown)" if hidden else ""), fontsize=7)
    _legend(figure)
    return figure
