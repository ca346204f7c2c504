"""The critical-difference diagram of Demšar (2006): average ranks on an axis, bars over equal ones.

Where the labels would leave too little of the width to the axis, the diagram is turned: a row per entry.
"""

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from calbench.benchmark.core.text import counted
from calbench.benchmark.report.figures.base import GRID, INK, Drawing, figure_kind, letters, short, wrapped
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.statistics import RankTests, rank_tests

ROWS_LIMIT = 60
LEVEL = 0.55
"""Height of a bar's level, in rows of labels."""
NARROW, PER_TICK = 0.4, 0.085
"""Share of the width, and inches per entry, below which the axis of ranks is too short and the diagram is turned."""


@figure_kind(
    "ranks",
    "Critical-difference diagram: average rank by ECE over datasets (1 is best); bars join entries whose ranks "
    "differ by less than Nemenyi's critical difference (CD).",
)  # fmt: skip
def ranks(drawing: Drawing) -> Iterator[tuple[str, Figure]]:
    """One diagram; none with fewer than two cells, or fewer than two entries that have every cell."""
    view = drawing.view
    table = view.table[view.table["entry"].isin(drawing.entries)] if drawing.look.entries else view.table
    try:
        tests = rank_tests(table, metric="ece", baseline=view.baseline)
    except ValueError:
        return
    shown = tests.ranks.iloc[:ROWS_LIMIT]
    tested = not tests.reason
    groups = cliques(shown, tests.critical_difference) if tested else []
    levels = bar_levels(groups)
    depth = LEVEL * (max(levels, default=-1) + 1)
    turned = _is_turned(drawing, shown)
    rows = len(shown) if turned else (len(shown) + 1) // 2 + depth
    figure = drawing.figure(0.75 + 0.14 * (rows + (2 if tested else 0)))
    axes = figure.subplots()
    if turned:
        _draw_turned(axes, view, shown, groups, levels)
    else:
        _draw(axes, view, shown, groups, levels)
    if tested:
        axes.set_ylim(top=max(3.2, axes.get_ylim()[1]))
        _ruler(axes, tests.critical_difference, len(tests.ranks), 1.5 if turned else 2.1)
    elif not turned:
        axes.set_ylim(top=1.4)
    figure.suptitle(wrapped(drawing.title(_title(tests, tested, len(tests.ranks) - len(shown))), 58), fontsize=7)
    yield "", figure


def _is_turned(drawing: Drawing, shown: "pd.Series[float]") -> bool:
    labels = [drawing.view.labels[str(entry)] for entry in shown.index]
    half = (len(labels) + 1) // 2
    beside = sum((max(map(len, part), default=0) + 6) / letters(1, 6) for part in (labels[:half], labels[half:]))
    axis = drawing.look.width - beside
    return axis < max(NARROW * drawing.look.width, PER_TICK * len(labels))


def _draw_turned(
    axes: Axes, view: View, shown: "pd.Series[float]", groups: Sequence[tuple[int, int]], levels: Sequence[int]
) -> None:
    """A row per entry, the best at the top; bars right of the marks join entries that do not differ."""
    values, names = [float(rank) for rank in shown], [str(entry) for entry in shown.index]
    last = max(float(len(values)), values[-1])
    for row, rank in enumerate(values):
        axes.plot([1, rank], [-row, -row], color="#bbbbbb", linewidth=0.5, zorder=0)
        axes.plot(rank, -row, "o", color=INK, markersize=2.5, clip_on=False)
        axes.annotate(f"{rank:.1f}", (rank, -row), (4, 0), textcoords="offset points", va="center", fontsize=5)
    span = last - 1
    for (first, end), level in zip(groups, levels, strict=True):
        place = last + (0.14 + 0.035 * level) * span
        axes.plot([place, place], [-first + 0.2, -end - 0.2], color="#0072B2", linewidth=1.8, solid_capstyle="butt")
    axes.set_yticks([-row for row in range(len(names))], [short(view.labels[entry], 40) for entry in names])
    for label, entry in zip(axes.get_yticklabels(), names, strict=True):
        label.set_fontweight("bold" if entry == view.baseline else "normal")
    axes.set_ylim(-len(values) + 0.4, 0.6)
    axes.set_xlim(1, last + (0.16 + 0.035 * (max(levels, default=0) + 1)) * span)
    axes.xaxis.tick_top()
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.spines[:].set_visible(False)
    axes.grid(axis="x", color=GRID)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)


def cliques(ranks: "pd.Series[float]", critical_difference: float) -> list[tuple[int, int]]:
    """The longest runs of sorted ranks within the critical difference, as first and last position."""
    values = list(ranks)
    runs: list[tuple[int, int]] = []
    for first, low in enumerate(values):
        last = max(i for i, value in enumerate(values) if value - low <= critical_difference)
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs


def bar_levels(groups: Sequence[tuple[int, int]]) -> list[int]:
    """A level for each bar, so that bars on one level have at least one entry between them."""
    ends: list[int] = []
    levels: list[int] = []
    for first, last in groups:
        level = next((i for i, end in enumerate(ends) if end < first), len(ends))
        ends[level : level + 1] = [last]
        levels.append(level)
    return levels


def _draw(
    axes: Axes, view: View, shown: "pd.Series[float]", groups: Sequence[tuple[int, int]], levels: Sequence[int]
) -> None:
    """The axis at the top, the bars below it, then a label for each entry: the better half left, the others right."""
    values, names = [float(rank) for rank in shown], [str(entry) for entry in shown.index]
    count = len(values)
    left, right = 1.0, max(float(count), values[-1])
    span = right - left
    depth = LEVEL * (max(levels, default=-1) + 1)
    axes.plot([left, right], [0, 0], color=INK, linewidth=0.8)
    for tick in range(1, int(right) + 1, max(1, round(span / 8))):
        axes.plot([tick, tick], [0, 0.25], color=INK, linewidth=0.6)
        axes.text(tick, 0.4, str(tick), ha="center", va="bottom", fontsize=6)
    for (first, last), level in zip(groups, levels, strict=True):
        y = -LEVEL * (level + 1) + 0.1
        reach = 0.006 * span
        axes.plot([values[first] - reach, values[last] + reach], [y, y], color="#0072B2", linewidth=1.8,
                  solid_capstyle="butt")  # fmt: skip
    half = (count + 1) // 2
    for place, (entry, rank) in enumerate(zip(names, values, strict=True)):
        on_left = place < half
        row = place if on_left else count - 1 - place
        y = -depth - 0.8 - row
        edge = left - 0.03 * span if on_left else right + 0.03 * span
        style = "bold" if entry == view.baseline else "normal"
        axes.plot([rank, rank, edge], [0, y, y], color="#777777", linewidth=0.5, zorder=0)
        axes.plot(rank, 0, "o", color=INK, markersize=2, zorder=3)
        label = short(view.labels[entry], 26)
        text = f"{label}  {rank:.1f}" if on_left else f"{rank:.1f}  {label}"
        axes.text(edge, y, text, ha="right" if on_left else "left", va="center", fontsize=6, fontweight=style)
    axes.set(xlim=(left - 0.05 * span, right + 0.05 * span), ylim=(-depth - half - 0.4, 3.2))
    axes.axis("off")


def _ruler(axes: Axes, critical_difference: float, count: int, height: float) -> None:
    """The length of the critical difference, above the marks."""
    reach = min(critical_difference, count - 1)
    axes.plot([1, 1 + reach], [height, height], color=INK, linewidth=0.8, marker="|", markersize=4)
    axes.text(1 + reach / 2, height + 0.2, f"CD = {critical_difference:.2f}", ha="center", va="bottom", fontsize=6)


def _title(tests: RankTests, tested: bool, hidden: int) -> str:
    parts = [f"Average rank by ECE over {counted(tests.blocks, 'dataset')}, {counted(tests.cells, 'cell')}"]
    if not tested:
        parts.append(f"not tested: {tests.reason}")
    elif tests.friedman_p == tests.friedman_p:
        parts.append(f"Friedman p = {tests.friedman_p:.2g}")
    notes = [f"{len(tests.left_out)} left out for missing cells"] if tests.left_out else []
    notes += [f"{hidden} more not shown"] if hidden else []
    return "; ".join(parts) + (f"\n({', '.join(notes)})" if notes else "")
