"""Figures of shifted test splits: metrics by severity, and their spread over corruptions."""

import math
import re
from collections.abc import Iterator
from typing import cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from calbench.benchmark.metrics.base import cost
from calbench.benchmark.report.figures.base import GRID, INK, Drawing, figure_kind, short
from calbench.benchmark.report.figures.metrics import looks
from calbench.benchmark.report.tables.shift import METRICS, severity_views
from calbench.benchmark.report.tables.view import View

LINES_LIMIT = 10
"""Most entries of one figure, the title of which says how many there are."""
BANDS_LIMIT = 4
"""Most entries whose intervals are bands; those of more are bars, since bands would cover each other."""
NEAR_ZERO = 0.4
"""Smallest value over the largest below which an axis begins at zero."""
DODGE = 0.05
"""Severities by which the bars of neighbouring entries are apart."""
_ONE = re.compile(r"shift-(?!severity-|patch-)(?P<corruption>.+)-(?P<severity>\d)$")


@figure_kind("shift", "Metrics by severity of shift, mean over corruptions, with 95 % intervals; 0: clean test split.")
def shift(drawing: Drawing) -> Iterator[tuple[str, Figure]]:
    """A figure for each dataset, backbone and kind of shift: a panel for each metric, a line for each entry."""
    for of, views in severity_views(drawing.report.views).items():
        first = next(iter(views.values()))
        shown = _shown(drawing)
        for dataset, backbone in first.pairs:
            metrics = _with_values(views, dataset, backbone, shown)
            if metrics and any(_stat(views[max(views)], dataset, backbone, e, metrics[0]) for e in shown):
                suffix = " / ".join(part for part in (of, dataset, backbone) if part)
                yield suffix, _lines(drawing, views, dataset, backbone, metrics, shown)


def _shown(drawing: Drawing) -> list[str]:
    """The entries of a figure: those chosen, or the baseline and the best by the report's order."""
    entries, view = drawing.entries, drawing.view
    if drawing.look.entries or len(entries) <= LINES_LIMIT:
        return entries[:LINES_LIMIT]
    means = {entry: _mean(view, entry, drawing.report.order) for entry in entries}
    best = sorted(entries, key=lambda entry: (entry != view.baseline, means[entry]))[:LINES_LIMIT]
    return [entry for entry in entries if entry in best]


def _mean(view: View, entry: str, metric: str) -> float:
    """The mean cost of an entry over all cells; infinite where any of them lacks it."""
    values = [view.stat(*pair, entry, metric).value for pair in view.pairs]
    known = [cost(value, view.metric(metric).better) for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else math.inf


def _title(drawing: Drawing, name: str, shown: int) -> str:
    """The title of a figure, with the number of entries that it leaves out."""
    count = len(drawing.entries)
    return drawing.title(short(name, 60) + (f" ({shown} of {count} entries)" if shown < count else ""))


def _with_values(views: dict[int, View], dataset: str, backbone: str, shown: list[str]) -> list[str]:
    """The metrics with a value at any severity."""
    return [m for m in METRICS if any(_stat(v, dataset, backbone, e, m) for v in views.values() for e in shown)]


def _stat(view: View, dataset: str, backbone: str, entry: str, metric: str) -> bool:
    return view.stat(dataset, backbone, entry, metric).value is not None


def _lines(
    drawing: Drawing, views: dict[int, View], dataset: str, backbone: str, metrics: list[str], shown: list[str]
) -> Figure:
    first = next(iter(views.values()))
    look = looks(first)
    figure = drawing.figure(1.3 * len(metrics) + 0.13 * math.ceil(len(shown) / 2) + 0.4)
    grid = figure.subplots(len(metrics), 1, squeeze=False, sharex=True)[:, 0]
    severities = list(views)
    for axes, metric in zip(grid, metrics, strict=True):
        info = first.metric(metric)
        for entry in shown:
            stats = [view.stat(dataset, backbone, entry, metric) for view in views.values()]
            colour, marker = look[entry]
            values = [math.nan if stat.value is None else stat.value for stat in stats]
            bands = len(shown) <= BANDS_LIMIT
            places = np.array(severities) + (0 if bands else DODGE * (shown.index(entry) - (len(shown) - 1) / 2))
            axes.plot(places, values, color=colour, marker=marker, markersize=2.5, linewidth=0.8)
            if all(stat.low is not None and stat.high is not None for stat in stats):
                ends = [[stat.low for stat in stats], [stat.high for stat in stats]]
                if bands:
                    axes.fill_between(places, *ends, color=colour, alpha=0.12, linewidth=0)
                else:
                    axes.vlines(places, *ends, color=colour, linewidth=0.6, alpha=0.7)
        axes.set_ylabel(f"{info.label}{f' ({info.unit})' if info.unit else ''}")
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
        if axes.get_ylim()[0] < NEAR_ZERO * axes.get_ylim()[1]:
            axes.set_ylim(bottom=0)
    grid[-1].set_xlabel("severity")
    grid[-1].set_xticks(severities)
    grid[0].set_title(_title(drawing, f"{first.short(dataset)} / {first.short(backbone)}", len(shown)))
    handles = [
        Line2D([], [], color=look[e][0], marker=look[e][1], markersize=3, label=short(first.labels[e])) for e in shown
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


@figure_kind("shift-boxes", "ECE under single corruptions: a box per severity and entry, over corruptions and seeds.")
def shift_boxes(drawing: Drawing) -> Iterator[tuple[str, Figure]]:
    """A figure for each dataset and backbone with at least two corruptions at a severity (Ovadia et al. 2019)."""
    view, table = drawing.view, drawing.report.results.table
    if "split" not in table:
        return
    table = table[(table["metric"] == "ece") & table["checkpoint"].eq(view.checkpoint or "")]
    found = table["split"].astype(str).str.extract(_ONE)
    table = table.assign(corruption=found["corruption"], severity=found["severity"]).dropna(subset=["severity"])
    shown = _shown(drawing)
    for key, part in table[table["entry"].isin(shown)].groupby(["dataset", "backbone"], sort=False):
        names = [str(name) for name in cast("tuple[str, str]", key)]
        if part.groupby("severity")["corruption"].nunique().max() >= 2:
            yield " / ".join(names), _boxes(drawing, part, shown, " / ".join(map(view.short, names)))


def _boxes(drawing: Drawing, part: pd.DataFrame, shown: list[str], title: str) -> Figure:
    view = drawing.view
    look, severities = looks(view), sorted(part["severity"].unique())
    figure = drawing.figure(2.0 + 0.13 * math.ceil(len(shown) / 2))
    axes: Axes = figure.subplots()
    entries = [entry for entry in shown if (part["entry"] == entry).any()]
    width = 0.8 / len(entries)
    for number, entry in enumerate(entries):
        values = [
            pd.to_numeric(part[(part["severity"] == s) & (part["entry"] == entry)]["value"], errors="coerce").dropna()
            for s in severities
        ]
        places = np.arange(len(severities)) - 0.4 + width * (number + 0.5)
        colour, pale = look[entry][0], _pale(look, entry, entries)
        boxes = axes.boxplot(
            [value.to_numpy() for value in values], positions=places, widths=0.85 * width, patch_artist=True,
            manage_ticks=False, flierprops={"markersize": 1.5, "markeredgecolor": colour},
            medianprops={"color": INK, "linewidth": 0.8},
        )  # fmt: skip
        for box in boxes["boxes"]:
            box.set(facecolor=pale, edgecolor=colour, linewidth=0.6)
        for line in (*boxes["whiskers"], *boxes["caps"]):
            line.set(color=colour, linewidth=0.6)
    axes.set_xticks(range(len(severities)), severities)
    axes.set_xlabel("severity")
    axes.set_ylabel("ECE (%)")
    axes.set_ylim(bottom=0)
    axes.set_title(_title(drawing, title, len(entries)))
    axes.grid(axis="y", color=GRID)
    axes.set_axisbelow(True)
    handles = [
        Patch(facecolor=_pale(look, e, entries), edgecolor=look[e][0], linewidth=0.6, label=short(view.labels[e]))
        for e in entries
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _pale(look: dict[str, tuple[str, str]], entry: str, entries: list[str]) -> tuple[float, float, float]:
    """An entry's colour, the paler the more entries with the same colour come before it."""
    same = [one for one in entries if look[one][0] == look[entry][0]]
    share = 0.9 * same.index(entry) / max(1, len(same) - 1)
    red, green, blue = (1 - (1 - part) * (1 - share) for part in to_rgb(look[entry][0]))
    return red, green, blue
