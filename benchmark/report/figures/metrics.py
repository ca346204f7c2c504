"""Figures of metric values: ECE against accuracy, ECE intervals beside the noise floor, reductions as a heat map."""

import math
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from calbench.benchmark.core.schema import NOISE_FLOOR_95
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
from calbench.benchmark.report.tables.view import Stat, View
from calbench.benchmark.results.results import Results

LEGEND_LIMIT = 24
ROWS_LIMIT = 60


def looks(view: View) -> dict[str, tuple[str, str]]:
    """Colour by recipe and marker by calibrator, the same in every panel."""
    recipes = list(dict.fromkeys(view.records[entry].get("recipe") for entry in view.entries))
    calibrators = list(dict.fromkeys(view.records[entry].get("calibrator") for entry in view.entries))
    return {
        entry: (
            PALETTE[recipes.index(view.records[entry].get("recipe")) % len(PALETTE)],
            MARKERS[calibrators.index(view.records[entry].get("calibrator")) % len(MARKERS)],
        )
        for entry in view.entries
    }


def _by_dataset(view: View) -> Iterator[tuple[str, list[str]]]:
    for dataset in view.datasets:
        backbones = [b for d, b in view.pairs if d == dataset]
        if any(view.stat(dataset, b, entry, "ece").value is not None for b in backbones for entry in view.entries):
            yield dataset, backbones


@figure_kind("ece-accuracy", "ECE against accuracy with 95 % intervals; lower right is better.")
def ece_accuracy(results: Results) -> Iterator[tuple[str, Figure]]:
    """A figure a dataset, a panel a backbone."""
    view, look = View(results), looks(View(results))
    for dataset, backbones in _by_dataset(view):
        columns = min(2, len(backbones))
        rows = math.ceil(len(backbones) / columns)
        legend_rows = math.ceil(min(len(view.entries), LEGEND_LIMIT) / 2)
        figure = new_figure(1.6 * rows + 0.13 * legend_rows + 0.3)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(backbones) :]:
            axes.remove()
        for axes, backbone in zip(grid.flat, backbones, strict=False):
            axes.set_title(short(f"{dataset} / {backbone}", 32))
            for entry in view.entries:
                x, y = (view.stat(dataset, backbone, entry, name) for name in ("accuracy", "ece"))
                _point(axes, x, y, *look[entry])
            axes.grid(color=GRID)
            axes.set_axisbelow(True)
            axes.set_ylim(bottom=0)
        label_outer(grid, len(backbones), "accuracy (%)", "ECE (%)")
        _entry_legend(figure, view, look)
        yield dataset, figure


def _point(axes: Axes, x: Stat, y: Stat, colour: str, marker: str) -> None:
    if x.value is None or y.value is None:
        return
    axes.errorbar(
        x.value, y.value, xerr=_reach(x), yerr=_reach(y), color=colour, marker=marker, markersize=3.5,
        elinewidth=0.5, alpha=0.9, markeredgecolor="white", markeredgewidth=0.3, linestyle="none",
    )  # fmt: skip


def _reach(stat: Stat) -> list[list[float]] | None:
    """The interval as matplotlib takes it: distances below and above; never negative."""
    if stat.value is None or stat.low is None or stat.high is None:
        return None
    return [[max(0.0, stat.value - stat.low)], [max(0.0, stat.high - stat.value)]]


def _entry_legend(figure: Figure, view: View, look: dict[str, tuple[str, str]]) -> None:
    shown = view.entries[:LEGEND_LIMIT]
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=3.5, label=short(view.labels[entry]))
        for entry, (colour, marker) in ((entry, look[entry]) for entry in shown)
    ]
    if len(view.entries) > len(shown):
        more = f"and {len(view.entries) - len(shown)} more"
        handles.append(Line2D([], [], linestyle="none", label=more))
    figure.legend(handles=handles, loc="outside lower center", ncols=2, handletextpad=0.2, columnspacing=0.8)


@figure_kind(
    "ece-intervals",
    "ECE with 95 % intervals; dashed: the baseline; grey: below a calibrated classifier's 95th percentile.",
)
def ece_intervals(results: Results) -> Iterator[tuple[str, Figure]]:
    """A figure a dataset and backbone, a row an entry, the best at the top."""
    view = View(results)
    for dataset, backbone in view.pairs:
        stats = {entry: view.stat(dataset, backbone, entry, "ece") for entry in view.entries}
        known = {entry: stat for entry, stat in stats.items() if stat.value is not None}
        if not known:
            continue
        ranked = sorted(known, key=lambda entry: known[entry].value)
        figure = new_figure(0.6 + 0.14 * (min(len(ranked), ROWS_LIMIT) + 1))
        axes = figure.subplots()
        _interval_rows(axes, view, (dataset, backbone), ranked[:ROWS_LIMIT], known)
        hidden = [f"{len(ranked) - ROWS_LIMIT} more not shown"] if len(ranked) > ROWS_LIMIT else []
        absent = len(stats) - len(known)
        notes = hidden + ([f"{absent} missing"] if absent else [])
        axes.set_title(f"{dataset} / {backbone}" + (f" ({', '.join(notes)})" if notes else ""))
        yield f"{dataset} {backbone}", figure


def _interval_rows(axes: Axes, view: View, pair: tuple[str, str], entries: list[str], stats: dict[str, Stat]) -> None:
    look = looks(view)
    for row, entry in enumerate(entries):
        floor = view.stat(*pair, entry, NOISE_FLOOR_95).value
        if floor is not None:
            axes.barh(row, floor, 1.0, color="#dddddd", linewidth=0, zorder=0)
        stat = stats[entry]
        colour, marker = look[entry]
        axes.errorbar(
            stat.value, row, xerr=_reach(stat), color=colour, marker=marker, markersize=3.5, elinewidth=0.9,
            linestyle="none",
        )  # fmt: skip
    baseline = view.stat(*pair, view.baseline or "", "ece").value
    if baseline is not None:
        axes.axvline(baseline, color=INK, linewidth=0.6, linestyle=(0, (3, 2)))
    axes.set_yticks(range(len(entries)), [short(view.labels[entry], 34) for entry in entries])
    axes.set(ylim=(len(entries) - 0.4, -0.6), xlabel="ECE (%)")
    axes.set_xlim(left=0)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)


@figure_kind("reductions", "Relative ECE reduction in per cent; in brackets: not different from the baseline.")
def reductions(results: Results) -> Iterator[tuple[str, Figure]]:
    """One heat map: entries down, datasets and backbones across."""
    view = View(results)
    entries = [entry for entry in view.entries if entry != view.baseline][:ROWS_LIMIT]
    stats = [[view.stat(d, b, entry, "ece") for d, b in view.pairs] for entry in entries]
    values = np.array([[np.nan if s.reduction is None else s.reduction for s in row] for row in stats], dtype=float)
    if not values.size or np.isnan(values).all():
        return
    wide = len(view.pairs) > 8
    figure = new_figure(1.2 + 0.17 * len(entries), 6.9 if wide else 3.3)
    axes = figure.subplots()
    axes.set_facecolor("#eeeeee")
    image = axes.imshow(np.clip(values, -100, 100), cmap="PuOr", vmin=-100, vmax=100, aspect="auto")
    for i, row in enumerate(stats):
        for j, stat in enumerate(row):
            text = "–" if stat.reduction is None else f"{stat.reduction:.0f}"
            text = f"({text})" if stat.differs is False else text
            dark = stat.reduction is not None and abs(stat.reduction) > 65
            axes.text(
                j, i, text.replace("-", "−"), ha="center", va="center", fontsize=5, color="white" if dark else INK
            )
    axes.set_yticks(range(len(entries)), [short(view.labels[entry], 28) for entry in entries])
    axes.set_xticks(range(len(view.pairs)), [short(f"{d} / {b}", 24) for d, b in view.pairs], rotation=40, ha="right")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02)
    bar.set_label("ECE reduction (%)", fontsize=6)
    bar.outline.set_linewidth(0.4)
    yield "", figure
