"""The critical-difference diagram of Demšar (2006): average ranks on an axis, bars over equal ones."""

from collections.abc import Iterator, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calbench.benchmark.report.figures.base import INK, Drawing, figure_kind, short, wrapped
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.statistics import RankTests, rank_tests

ROWS_LIMIT = 60
LEVEL = 0.55
"""Height of a bar's level, in rows of labels."""


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
    rows = (len(shown) + 1) // 2
    figure = drawing.figure(0.75 + 0.14 * (rows + depth + (2 if tested else 0)))
    axes = figure.subplots()
    _draw(axes, view, shown, groups, levels)
    if tested:
        _ruler(axes, tests.critical_difference, len(tests.ranks))
    figure.suptitle(wrapped(drawing.title(_title(tests, tested, len(tests.ranks) - len(shown))), 58), fontsize=7)
    yield "", figure


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


def _ruler(axes: Axes, critical_difference: float, count: int) -> None:
    """The length of the critical difference, above the axis."""
    reach = min(critical_difference, count - 1)
    axes.plot([1, 1 + reach], [2.1, 2.1], color=INK, linewidth=0.8, marker="|", markersize=4)
    axes.text(1 + reach / 2, 2.3, f"CD = {critical_difference:.2f}", ha="center", va="bottom", fontsize=6)


def _title(tests: RankTests, tested: bool, hidden: int) -> str:
    parts = [f"Average rank by ECE over {tests.blocks} datasets, {tests.cells} cells"]
    if not tested:
        parts.append(f"not tested: {tests.reason}")
    elif tests.friedman_p == tests.friedman_p:
        parts.append(f"Friedman p = {tests.friedman_p:.2g}")
    notes = [f"{len(tests.left_out)} left out for missing cells"] if tests.left_out else []
    notes += [f"{hidden} more not shown"] if hidden else []
    return "; ".join(parts) + (f"\n({', '.join(notes)})" if notes else "")
