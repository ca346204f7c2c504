"""Metrics against the number of calibration samples, from the table of `calbench.benchmark.evaluation.sizes`."""

import math
from collections.abc import Iterator

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calbench.benchmark.metrics import registry
from calbench.benchmark.report.figures.base import GRID, INK, MARKERS, PALETTE, new_figure, short, style
from calbench.methods import registry as methods

MOST = 8
"""Entries in one figure: as many as there are colours."""


def draw_sizes(table: pd.DataFrame, metric: str, title: str = "") -> Figure:
    """A line per entry, with the range of the draws; the entry that does not depend on the size is dashed.

    Args:
        table: of one set of predictions.
        metric: which to draw.
        title: above the figure.
    """
    rows = table[table["metric"] == metric].dropna(subset=["value"])
    curves = list(_best_first(rows))
    with style():
        figure = new_figure(2.2 + 0.13 * math.ceil(len(curves) / 2))
        axes = figure.subplots()
        for number, (entry, curve) in enumerate(curves):
            _draw_curve(axes, number, entry, curve.sort_values("size"))
        about = registry[metric]
        unit = f" ({about.unit})" if about.unit else ""
        axes.set(xscale="log", xlabel="calibration samples", ylabel=f"{about.spec.label}{unit}")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        cut = _cut(axes, rows) if metric == "nll" and len(rows) else ""
        axes.grid(color=GRID)
        axes.set_axisbelow(True)
        left_out = rows["entry"].nunique() - len(curves)
        axes.set_title("\n".join(filter(None, [title, f"(without {left_out} worse entries)" if left_out else "", cut])))
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def _draw_curve(axes: Axes, number: int, entry: str, curve: pd.DataFrame) -> None:
    name = entry_label(entry)
    if _is_constant(curve):
        axes.plot(curve["size"], curve["value"], "--", color=INK, label=name)
        return
    color, marker = PALETTE[number % len(PALETTE)], MARKERS[number % len(MARKERS)]
    axes.plot(curve["size"], curve["value"], marker=marker, markersize=3, color=color, label=name)
    axes.fill_between(curve["size"], curve["low"], curve["high"], color=color, alpha=0.1, linewidth=0)


def entry_label(entry: str) -> str:
    """The labels of the methods in an entry's name: ``VS`` for ``vector-scaling``; unknown names as they are."""
    parts = [part.strip() for part in entry.split(" + ")]
    return short(" + ".join(methods[part].spec.label if part in methods else part for part in parts))


def _cut(axes: Axes, rows: pd.DataFrame) -> str:
    """Cut off what fails on few samples, which would flatten all other curves, and say so."""
    floor, top = rows["value"].min(), rows.groupby("entry")["value"].min().max()
    highest = top + 1.0 * (top - floor)
    axes.set_ylim(floor - 0.1 * (top - floor), highest)
    return "(larger values are not shown)" if rows["value"].max() > highest else ""


def _is_constant(curve: pd.DataFrame) -> bool:
    """Whether an entry does not depend on the size, as far as can be seen: it is not calibrated."""
    return len(curve) > 1 and curve["value"].nunique() == 1


def _best_first(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The entries by their best value, the first `MOST`, and in any case one that does not depend on the size."""
    best = rows.groupby("entry", sort=False)["value"].min().sort_values()
    constant = [entry for entry, curve in rows.groupby("entry") if _is_constant(curve)]
    chosen = [entry for entry in best.index if entry not in constant][:MOST]
    for entry in [*chosen, *constant[:1]]:
        yield str(entry), rows[rows["entry"] == entry]
