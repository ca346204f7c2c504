"""Reliability diagrams from the stored bins: the baseline and the best entries of a dataset and backbone."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from calbench.benchmark.report.figures.base import (
    GRID,
    INK,
    PALETTE,
    Drawing,
    figure_kind,
    letters,
    wrapped,
)
from calbench.benchmark.report.tables.cells import position
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.results.series_records import BinRecord, DiagramRecord

OVER, UNDER, BAR = PALETTE[1], PALETTE[0], "#b9c4cc"
FEW = 10
"""Samples below which a bin is drawn hatched and pale: its accuracy is hardly known."""


MOST_ROWS = 4
"""Rows of diagrams that fit on a page."""


class Panel(NamedTuple):
    """One diagram with its title."""

    title: str
    diagram: DiagramRecord

    def numbers(self) -> str:
        """The ECE and the number of samples, in two lines."""
        count = sum(each.count for each in filled(self.diagram))
        return f"ECE {ece_of(self.diagram):.1f} %\nn = {count:,.0f}"


def filled(diagram: DiagramRecord) -> list[BinRecord]:
    """The bins that have samples."""
    return [each for each in diagram.bins if each.filled]


def ece_of(diagram: DiagramRecord) -> float:
    """The ECE of the drawn bins, per cent."""
    bins = filled(diagram)
    total = sum(each.count for each in bins) or 1
    return 100 * sum(each.count * abs((each.accuracy or 0) - (each.confidence or 0)) for each in bins) / total


def pick(view: View, dataset: str, backbone: str, entry: str) -> DiagramRecord | None:
    """The diagram of an entry's first seed, at the view's split and checkpoint."""
    for diagram in view.results.diagrams:
        where = (diagram.dataset, diagram.backbone, diagram.entry, diagram.split)
        if where == (dataset, backbone, entry, view.split) and diagram.checkpoint in (None, view.checkpoint):
            return diagram
    return None


def draw_reliability(axes: Axes, below: Axes, diagram: DiagramRecord) -> None:
    """Draw accuracy by confidence into `axes` and the histogram of confidences into `below`."""
    bins = filled(diagram)
    total = sum(each.count for each in bins) or 1
    for each in bins:
        _draw_bin(axes, each)
        share = each.count / total
        width = each.high - each.low
        below.bar(each.low, share, width, align="edge", color="#6b7780", edgecolor="white", linewidth=0.4)
    axes.plot([0, 1], [0, 1], color=INK, linewidth=0.6, linestyle=(0, (3, 2)))
    axes.set(xlim=(0, 1), ylim=(0, 1), yticks=[0, 0.5, 1])
    axes.tick_params(labelbottom=False)
    below.set(xlim=(0, 1), xticks=[0, 0.5, 1])
    below.yaxis.set_major_locator(MaxNLocator(1))
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)


def _draw_bin(axes: Axes, each: BinRecord) -> None:
    """The bar of the accuracy, the gap to the confidence and the interval; pale and hatched where samples are few."""
    accuracy, confidence = each.accuracy or 0.0, each.confidence or 0.0
    width, few = each.high - each.low, each.count < FEW
    axes.bar(each.low, accuracy, width, align="edge", color=BAR, edgecolor="white", linewidth=0.4,
             alpha=0.4 if few else 1.0)  # fmt: skip
    colour = OVER if confidence > accuracy else UNDER
    axes.bar(each.low, abs(confidence - accuracy), width, min(accuracy, confidence), align="edge", color=colour,
             alpha=0.2 if few else 0.55, linewidth=0, hatch="////" if few else None, edgecolor="white")  # fmt: skip
    if each.accuracy_low is not None and each.accuracy_high is not None:
        centre = each.low + width / 2
        ends = [each.accuracy_low, each.accuracy_high]
        axes.plot([centre, centre], ends, color=INK, linewidth=0.7, alpha=0.4 if few else 1.0)


def _legend(figure: Figure) -> None:
    signs = ((OVER, "over-confident"), (UNDER, "under-confident"))
    handles = [Patch(color=colour, alpha=0.55, linewidth=0, label=label) for colour, label in signs]
    few = Patch(
        facecolor=BAR, alpha=0.4, hatch="////", edgecolor="white", linewidth=0, label=f"fewer than {FEW} samples"
    )
    figure.legend(handles=[*handles, few], loc="outside lower center", ncols=3, columnspacing=0.8, handlelength=1.2)


@figure_kind(
    "reliability",
    "Reliability diagrams of the first seed with 95 % intervals of each bin's accuracy: the baseline and the entries "
    "with the best NLL, or those chosen.",
)
def reliability_grids(drawing: Drawing) -> Iterator[tuple[str, Figure]]:
    """A figure per dataset and backbone, a panel per entry: those chosen, or the baseline and the best."""
    view = drawing.view
    for dataset, backbone in view.pairs:
        diagrams = {entry: pick(view, dataset, backbone, entry) for entry in _candidates(drawing, dataset, backbone)}
        panels = [Panel(view.labels[e], diagram) for e, diagram in diagrams.items() if diagram is not None]
        if panels:
            title = f"{view.short(dataset)} / {view.short(backbone)}"
            yield f"{dataset} / {backbone}", _grid(drawing, panels[: drawing.look.panels], title, len(panels))


def _candidates(drawing: Drawing, dataset: str, backbone: str) -> list[str]:
    """The entries in the order of the panels: as chosen, or the baseline first and then by the report's order."""
    view, by = drawing.view, drawing.report.order
    if drawing.look.entries:
        return drawing.entries
    better = view.metric(by).better

    def place(entry: str) -> tuple[bool, float]:
        return entry != view.baseline, position(view.stat(dataset, backbone, entry, by).value, better)

    return sorted(view.entries, key=place)


@figure_kind("reliability-baseline", "Reliability of the baseline and of the entry with the best NLL, first seed.")
def reliability_baseline(drawing: Drawing) -> Iterator[tuple[str, Figure]]:
    """For the whole suite: each dataset and backbone's baseline next to its best entry, four rows a figure."""
    view = drawing.view
    panels: list[Panel] = []
    for dataset, backbone in view.pairs:
        name = f"{view.short(dataset)} / {view.short(backbone)}"
        for entry in _candidates(drawing, dataset, backbone)[:2]:
            diagram = pick(view, dataset, backbone, entry)
            if diagram is not None:
                panels.append(Panel(f"{name}\n{view.labels[entry]}", diagram))
    columns = 2 if drawing.look.style == "column" else 4
    size = columns * MOST_ROWS
    pages = [panels[start : start + size] for start in range(0, len(panels), size)]
    for number, page in enumerate(pages, start=1):
        yield str(number) if len(pages) > 1 else "", _grid(drawing, page, "Baseline and best NLL", len(page), columns)


def _grid(drawing: Drawing, shown: Sequence[Panel], title: str, count: int, columns: int = 3) -> Figure:
    """A grid of diagrams, each above its histogram; `count` is how many there are in all."""
    rows = math.ceil(len(shown) / columns)
    width = drawing.look.width / columns
    titles = [wrapped(panel.title, letters(width - 0.25, 6)) for panel in shown]
    lines = max(title.count("\n") + 1 for title in titles)
    figure = drawing.figure(0.55 + (0.85 * width + 0.3 + 0.1 * lines) * rows)
    grid = figure.add_gridspec(2 * rows, columns, height_ratios=[4, 1] * rows)
    for index, panel in enumerate(shown):
        row, column = divmod(index, columns)
        axes = figure.add_subplot(grid[2 * row, column])
        below = figure.add_subplot(grid[2 * row + 1, column])
        draw_reliability(axes, below, panel.diagram)
        axes.set_title(titles[index], fontsize=6)
        axes.text(0.04, 0.96, panel.numbers(), transform=axes.transAxes, va="top", fontsize=5, zorder=9,
                  bbox={"facecolor": "white", "alpha": 0.75, "linewidth": 0, "pad": 1})  # fmt: skip
        axes.tick_params(labelleft=column == 0, labelsize=5)
        below.tick_params(labelbottom=index + columns >= len(shown), labelsize=5)
        if column == 0:
            axes.set_ylabel("accuracy")
            below.set_ylabel("share", fontsize=5)
        if index + columns >= len(shown):
            below.set_xlabel("confidence")
    notes = [f"{len(shown)} of {count} entries"] if len(shown) < count else []
    notes += ["one seed"] if len(drawing.report.run.seeds) > 1 else []
    part = f"({', '.join(notes)})" if notes else ""
    figure.suptitle(drawing.title(f"{title} {part}".strip()), fontsize=7)
    _legend(figure)
    return figure
