"""Figures of metric values: ECE against accuracy, ECE intervals and the noise floor, reductions as a heat map."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator
from matplotlib.typing import ColorType

from calbench.benchmark.report.figures.base import (
    GRID,
    INK,
    MARKERS,
    PALETTE,
    Drawing,
    figure_kind,
    label_outer,
    letters,
    short,
    wrapped,
)
from calbench.benchmark.report.tables.cells import in_noise
from calbench.benchmark.report.tables.view import Stat, View

LEGEND_LIMIT = 24
ROWS_LIMIT = 60
LINEAR = 100.0
"""Per cent of reduction up to which colours are linear; beyond it they are logarithmic."""
CROWDED = 6.0
"""Largest ECE over the smallest from which on the axis of the ECE is logarithmic."""


def looks(view: View) -> dict[str, tuple[str, str]]:
    """Colour and marker of each entry, the same in every panel.

    The colour is the recipe's and the marker the calibrator's; where there are too many of either, so that two entries
    would look alike, every entry has a pair of its own.
    """
    recipes = list(dict.fromkeys(view.records[entry].recipe for entry in view.entries))
    calibrators = list(dict.fromkeys(view.records[entry].calibrator for entry in view.entries))
    if len(recipes) > len(PALETTE) or len(calibrators) > len(MARKERS):
        colours, markers = len(PALETTE), len(MARKERS)
        return {
            entry: (PALETTE[number % colours], MARKERS[(number + number // colours) % markers])
            for number, entry in enumerate(view.entries)
        }
    return {
        entry: (
            PALETTE[recipes.index(view.records[entry].recipe)],
            MARKERS[calibrators.index(view.records[entry].calibrator)],
        )
        for entry in view.entries
    }


def _by_dataset(view: View, entries: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    for dataset in view.datasets:
        backbones = [b for d, b in view.pairs if d == dataset]
        if any(view.stat(dataset, b, entry, "ece").value is not None for b in backbones for entry in entries):
            yield dataset, backbones


@figure_kind(
    "ece-accuracy",
    "ECE against accuracy with 95 % intervals; lower right is better. The axis of the ECE is logarithmic where the "
    "entries differ much.",
)
def ece_accuracy(drawing: Drawing) -> Iterator[tuple[str, Figure]]:
    """A figure per dataset, a panel per backbone."""
    view, look, entries = drawing.view, looks(drawing.view), drawing.entries
    for dataset, backbones in _by_dataset(view, entries):
        columns = min(2 if drawing.look.style == "column" else 4, len(backbones))
        rows = math.ceil(len(backbones) / columns)
        legend_rows = math.ceil(min(len(entries), LEGEND_LIMIT) / 2)
        figure = drawing.figure(1.6 * rows + 0.13 * legend_rows + 0.3)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes in grid.flat[len(backbones) :]:
            axes.remove()
        for axes, backbone in zip(grid.flat, backbones, strict=False):
            title = drawing.title(f"{view.short(dataset)} / {view.short(backbone)}")
            axes.set_title(wrapped(title, letters(drawing.look.width / columns - 0.35)))
            for entry in entries:
                x, y = (view.stat(dataset, backbone, entry, name) for name in ("accuracy", "ece"))
                _point(axes, x, y, *look[entry])
            axes.grid(color=GRID)
            axes.set_axisbelow(True)
            _ece_axis(axes, [view.stat(dataset, backbone, entry, "ece").value for entry in entries])
        label_outer(grid, len(backbones), "accuracy (%)", "ECE (%)")
        _entry_legend(figure, view, entries, look)
        yield dataset, figure


def _ece_axis(axes: Axes, values: Sequence[float | None]) -> None:
    """From zero; logarithmic where one entry is so bad that the others would lie on each other."""
    known = [value for value in values if value]
    if len(known) < 2 or max(known) < CROWDED * min(known):
        axes.set_ylim(bottom=0)
        return
    axes.set_yscale("log")
    axes.set_ylim(0.6 * min(known), 1.3 * max(known))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_locator(NullLocator())


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


def _entry_legend(figure: Figure, view: View, entries: Sequence[str], look: dict[str, tuple[str, str]]) -> None:
    shown = entries[:LEGEND_LIMIT]
    handles = [
        Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=3.5, label=short(view.labels[entry]))
        for entry, (colour, marker) in ((entry, look[entry]) for entry in shown)
    ]
    if len(entries) > len(shown):
        handles.append(Line2D([], [], linestyle="none", label=f"and {len(entries) - len(shown)} more"))
    figure.legend(handles=handles, loc="outside lower center", ncols=2, handletextpad=0.2, columnspacing=0.8)


@figure_kind(
    "ece-intervals",
    "ECE with 95 % intervals; dashed: the baseline; grey: below a calibrated classifier's 95th percentile.",
)
def ece_intervals(drawing: Drawing) -> Iterator[tuple[str, Figure]]:
    """A figure per dataset and backbone, a row per entry, the best at the top."""
    view = drawing.view
    for dataset, backbone in view.pairs:
        stats = {entry: view.stat(dataset, backbone, entry, "ece") for entry in drawing.entries}
        values = {entry: stat.value for entry, stat in stats.items() if stat.value is not None}
        if not values:
            continue
        chosen = bool(drawing.look.entries)
        ranked = list(values) if chosen else sorted(values, key=values.__getitem__)
        figure = drawing.figure(0.6 + 0.14 * (min(len(ranked), ROWS_LIMIT) + 1))
        axes = figure.subplots()
        _interval_rows(axes, view, (dataset, backbone), ranked[:ROWS_LIMIT], stats)
        hidden = [f"{len(ranked) - ROWS_LIMIT} more not shown"] if len(ranked) > ROWS_LIMIT else []
        absent = len(stats) - len(values)
        notes = hidden + ([f"{absent} missing"] if absent else [])
        title = f"{view.short(dataset)} / {view.short(backbone)}" + (f" ({', '.join(notes)})" if notes else "")
        axes.set_title(wrapped(drawing.title(title), 60))
        yield f"{dataset} / {backbone}", figure


def _interval_rows(axes: Axes, view: View, pair: tuple[str, str], entries: list[str], stats: dict[str, Stat]) -> None:
    look = looks(view)
    for row, entry in enumerate(entries):
        floor = view.floor(*pair, entry)[1]
        if floor is not None:
            axes.barh(row, floor, 1.0, color="#dddddd", linewidth=0, zorder=0)
        stat = stats[entry]
        colour, marker = look[entry]
        axes.errorbar(
            [stat.value or 0.0], [row], xerr=_reach(stat), color=colour, marker=marker, markersize=3.5, elinewidth=0.9,
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


@figure_kind(
    "reductions",
    "Relative ECE reduction in per cent; colours are linear up to 100 and logarithmic beyond; in brackets: not "
    "significantly different from the baseline; \u2248: the baseline is within its own noise.",
)
def reductions(drawing: Drawing) -> Iterator[tuple[str, Figure]]:
    """One heat map: entries down, datasets and backbones across."""
    view = drawing.view
    entries = [entry for entry in drawing.entries if entry != view.baseline][:ROWS_LIMIT]
    stats = [[view.stat(*pair, entry, "ece") for pair in view.pairs] for entry in entries]
    noisy = [in_noise(view.stat(*pair, view.baseline or "", "ece")) for pair in view.pairs]
    values = np.array(
        [[_shown(stat, noise) for stat, noise in zip(row, noisy, strict=True)] for row in stats], dtype=float
    )
    if not values.size or all(stat.value is None for row in stats for stat in row):
        return
    figure = drawing.figure(1.2 + 0.17 * len(entries), WIDE if len(view.pairs) > 8 else None)
    axes = figure.subplots()
    axes.set_facecolor("#eeeeee")
    most = max(100.0, float(np.nanmax(np.abs(values), initial=0)))
    norm = SymLogNorm(LINEAR, vmin=-most, vmax=most, base=10)
    image = axes.imshow(values, cmap="PuOr", norm=norm, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        text = _reduction_text(stats[i][j], float(value), noisy[j])
        ground = image.cmap(norm(value)) if np.isfinite(value) else axes.get_facecolor()
        colour = max("white", INK, key=lambda ink: _contrast(ink, ground))
        axes.text(j, i, text, ha="center", va="center", fontsize=5, color=colour)
    labels = [short(view.labels[entry], 34) for entry in entries]
    axes.set_yticks(range(len(entries)), labels)
    room = figure.get_figwidth() - max(map(len, labels)) / letters(1, 6) - 0.6
    _column_names(axes, [f"{view.short(d)} / {view.short(b)}" for d, b in view.pairs], room)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title(drawing.title(""))
    _colour_bar(figure, axes, image, most)
    yield "", figure


WIDE = 6.9


def _column_names(axes: Axes, names: Sequence[str], inches: float) -> None:
    """Names under the columns, in lines if their words fit, else slanted."""
    fitting = int(inches / len(names) * letters(1, 6))
    if max(len(word) for name in names for word in name.split()) <= fitting:
        axes.set_xticks(range(len(names)), [wrapped(name, fitting) for name in names])
    else:
        lines = [wrapped(name, 26) for name in names]
        axes.set_xticks(range(len(names)), lines, rotation=40, ha="right", rotation_mode="anchor")


def _contrast(one: ColorType, other: ColorType) -> float:
    """The ratio of the relative luminances of two colours as WCAG defines it, 1 to 21."""
    low, high = sorted(_luminance(to_rgb(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: Sequence[float]) -> float:
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _shown(stat: Stat, noise: bool) -> float:
    return math.nan if stat.reduction is None or noise else stat.reduction


def _reduction_text(stat: Stat, value: float, noise: bool) -> str:
    if noise and stat.value is not None:
        return "≈"
    text = "–" if math.isnan(value) else f"{round(value)}".replace("-", "−")
    return f"({text})" if stat.differs is False else text


def _colour_bar(figure: Figure, axes: Axes, image: object, most: float) -> None:
    bar = figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02)  # pyright: ignore[reportArgumentType]
    positive = [tick for tick in (50, 100, 300, 1000, 10000) if tick <= most]
    ticks = [-tick for tick in reversed(positive)] + [0] + positive
    bar.set_ticks(ticks, labels=[f"{tick:+d}".replace("-", "−") if tick else "0" for tick in ticks])
    bar.ax.minorticks_off()
    bar.set_label("ECE reduction (%)", fontsize=6)
    bar.outline.set_linewidth(0.4)  # pyright: ignore[reportCallIssue]
