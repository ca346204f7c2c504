"""The critical-difference diagram: average ranks over cells, and which of them Nemenyi's test cannot tell apart."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calbench.benchmark.report.figures.base import INK, figure_kind, new_figure, short
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.results.results import Results
from calbench.benchmark.statistics import RankTests, rank_tests

ROWS_LIMIT = 60


@figure_kind("ranks", "Average rank by ECE over cells; bars join ranks within Nemenyi's critical difference.")
def ranks(results: Results) -> Iterator[tuple[str, Figure]]:
    """One diagram; nothing where there are fewer than two cells or two entries that have every cell."""
    view = View(results)
    try:
        tests = rank_tests(view.table, metric="ece", baseline=view.baseline)
    except ValueError:
        return
    shown = tests.ranks.iloc[:ROWS_LIMIT]
    groups = [] if tests.reason else cliques(shown, tests.critical_difference)
    figure = new_figure(0.95 + 0.15 * len(shown))
    axes = figure.subplots()
    _draw(axes, view, shown, groups)
    figure.suptitle(_title(tests, len(tests.ranks) - len(shown)), fontsize=7)
    yield "", figure


def cliques(ranks: pd.Series, critical_difference: float) -> list[tuple[int, int]]:
    """The longest runs of sorted ranks within the critical difference, as first and last position."""
    values = list(ranks)
    runs: list[tuple[int, int]] = []
    for first, low in enumerate(values):
        last = max(i for i, value in enumerate(values) if value - low <= critical_difference)
        if last > first and (not runs or last > runs[-1][1]):
            runs.append((first, last))
    return runs


def _draw(axes: Axes, view: View, shown: pd.Series, groups: list[tuple[int, int]]) -> None:
    for row, (entry, rank) in enumerate(shown.items()):
        is_baseline = entry == view.baseline
        axes.plot([0.5, rank], [row, row], color="#cccccc", linewidth=0.5, zorder=0)
        axes.plot(rank, row, "o", color=INK, markersize=3.5, markerfacecolor="white" if is_baseline else INK)
    right = float(shown.max())
    for index, (first, last) in enumerate(groups):
        x = right + 0.35 + 0.25 * index
        axes.plot([x, x], [first - 0.2, last + 0.2], color="#0072B2", linewidth=2, solid_capstyle="butt")
    axes.set_yticks(range(len(shown)), [short(view.labels[entry], 34) for entry in shown.index])
    axes.set(
        ylim=(len(shown) - 0.4, -0.6), xlim=(0.5, right + 0.6 + 0.25 * len(groups)), xlabel="average rank (1 is best)"
    )
    axes.tick_params(axis="y", length=0)


def _title(tests: RankTests, hidden: int) -> str:
    difference = tests.reason or f"critical difference {tests.critical_difference:.2f}"
    parts = [f"{tests.blocks} datasets, {tests.cells} cells, {difference}"]
    if tests.friedman_p == tests.friedman_p:
        parts.append(f"Friedman p = {tests.friedman_p:.2g}")
    notes = [f"{len(tests.left_out)} left out for missing cells"] if tests.left_out else []
    notes += [f"{hidden} more not shown"] if hidden else []
    return "\n".join(parts) + (f"\n({', '.join(notes)})" if notes else "")
