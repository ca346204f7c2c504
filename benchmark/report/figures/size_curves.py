"""Metrics against the number of calibration samples, from the table of `calbench.benchmark.evaluation.sizes`."""

from collections.abc import Iterator

import pandas as pd
from matplotlib.figure import Figure

from calbench.benchmark.metrics import registry
from calbench.benchmark.report.figures.base import GRID, INK, MARKERS, PALETTE, WIDTH

MOST = 8
"""Entries in one figure: as many as there are colours."""


def draw_sizes(table: pd.DataFrame, metric: str, title: str = "") -> Figure:
    """A line per entry, with the range of 95 % of the draws; the entry that does not depend on the size is dashed.

    Args:
        table: of one set of predictions.
        metric: which to draw.
        title: above the figure.
    """
    figure = Figure(figsize=(WIDTH, 2.6), layout="constrained")
    ax = figure.subplots()
    rows = table[table["metric"] == metric].dropna(subset=["value"])
    for number, (entry, curve) in enumerate(_best_first(rows)):
        curve = curve.sort_values("size")
        constant = _is_constant(curve)
        color = INK if constant else PALETTE[number % len(PALETTE)]
        style = "--" if constant else "-"
        marker = "" if constant else MARKERS[number % len(MARKERS)]
        ax.plot(curve["size"], curve["value"], style, marker=marker, markersize=3, color=color, label=entry, lw=1)
        if not constant:
            ax.fill_between(curve["size"], curve["low"], curve["high"], color=color, alpha=0.12, linewidth=0)
    about = registry[metric]
    unit = f" ({about.unit})" if about.unit else ""
    ax.set(xscale="log", xlabel="calibration samples", ylabel=f"{about.spec.label}{unit}")
    if metric == "nll" and len(rows):  # calibrators that fail on few samples would flatten all others
        floor, top = rows["value"].min(), rows.groupby("entry")["value"].min().max()
        ax.set_ylim(floor - 0.1 * (top - floor), top + 1.0 * (top - floor))
    ax.grid(color=GRID, linewidth=0.4)
    ax.set_title(title, fontsize=7)
    ax.legend(fontsize=5, ncols=2, frameon=False)
    return figure


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
