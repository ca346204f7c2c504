"""Per-sample temperatures of every entry that has them, on a logarithmic axis: median, middle half and middle 90 %."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullFormatter, NullLocator

from calbench.benchmark.report.figures.base import GRID, INK, Drawing, figure_kind, letters, short, wrapped
from calbench.benchmark.report.figures.metrics import looks
from calbench.benchmark.report.figures.reliability import pick
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.results.series_records import HistogramRecord

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@figure_kind(
    "temperatures",
    "Per-sample temperatures on the test split, first seed: median, middle half (thick) and middle 90 % of the "
    "samples; dashed: 1.",
)
def temperatures(drawing: Drawing) -> Iterator[tuple[str, Figure]]:
    """A panel per dataset and backbone, a row per entry that has temperatures."""
    view = drawing.view
    panels: list[tuple[str, dict[str, HistogramRecord]]] = []
    for dataset, backbone in view.pairs:
        diagrams = {entry: pick(view, dataset, backbone, entry) for entry in drawing.entries}
        known = {e: d.temperature for e, d in diagrams.items() if d is not None and d.temperature is not None}
        if known:
            panels.append((f"{view.short(dataset)} / {view.short(backbone)}", known))
    if not panels:
        return
    names = [entry for entry in drawing.entries if any(entry in known for _, known in panels)]
    columns = min(len(panels), 2 if drawing.look.style == "column" else 4)
    rows = math.ceil(len(panels) / columns)
    labels = [short(view.labels[name], 34) for name in names]
    room = letters((drawing.look.width - max(map(len, labels)) / letters(1, 6)) / columns - 0.1)
    titles = [wrapped(drawing.title(title), room) for title, _ in panels]
    lines = max(title.count("\n") + 1 for title in titles)
    figure = drawing.figure(0.2 + (0.4 + 0.12 * len(names) + 0.1 * lines) * rows)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(panels) :]:
        axes.remove()
    for place, (axes, title, (_, known)) in enumerate(zip(grid.flat, titles, panels, strict=False)):
        axes.set_title(title)
        _rows(axes, view, names, known)
        axes.set_yticks(range(len(names)), labels)
        if place + columns >= len(panels):
            axes.set_xlabel("temperature")
            axes.tick_params(labelbottom=True)
    _log_axis(grid.flat[0])
    yield "", figure


def quantiles(histogram: HistogramRecord, shares: Sequence[float] = QUANTILES) -> list[float]:
    """Quantiles of a histogram, samples spread evenly within each bin.

    Example:
        >>> quantiles(HistogramRecord(edges=(0.0, 1.0, 2.0), counts=(1, 1)), [0.25, 0.5])
        [0.5, 1.0]
    """
    counts = np.asarray(histogram.counts, dtype=float)
    if not counts.sum():
        return [math.nan] * len(shares)
    cumulated = np.concatenate([[0.0], np.cumsum(counts)]) / counts.sum()
    return [float(value) for value in np.interp(shares, cumulated, histogram.edges)]


def _rows(axes: Axes, view: View, names: Sequence[str], known: dict[str, HistogramRecord]) -> None:
    look = looks(view)
    axes.axvline(1, color=INK, linewidth=0.5, linestyle=(0, (3, 2)))
    for row, entry in enumerate(names):
        if entry not in known:
            continue
        low, quarter, median, three_quarters, high = quantiles(known[entry])
        colour, marker = look[entry]
        axes.plot([low, high], [row, row], color=colour, linewidth=0.8, solid_capstyle="butt")
        axes.plot([quarter, three_quarters], [row, row], color=colour, linewidth=2.4, solid_capstyle="butt")
        axes.plot(median, row, marker=marker, color=colour, markersize=3.5, markeredgecolor="white",
                  markeredgewidth=0.4)  # fmt: skip
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)


def _log_axis(axes: Axes) -> None:
    """Ticks with plain numbers, at most about six."""
    low, high = axes.get_xlim()
    ticks = [tick for tick in _TICKS if low <= tick <= high]
    while len(ticks) > 5:
        ticks = ticks[::2] if 1 in ticks[::2] else ticks[1::2]
    for other in axes.figure.axes:
        other.xaxis.set_major_locator(FixedLocator(ticks))
        other.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        other.xaxis.set_minor_locator(NullLocator())
        other.xaxis.set_minor_formatter(NullFormatter())
