"""The table of ``calbench evaluate``."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from calbench.benchmark.core.text import counted

if TYPE_CHECKING:  # files are read before torch is imported: an error should not wait for it
    from calbench.benchmark.predictions.predictions import SplitPredictions

_NARROW = 70
"""Characters that a table takes at least, for a title in one line."""
_INTERVALS = 2
"""The place of the column of intervals, or of reasons why a value is not finite."""


def metric_table(title: str, part: "SplitPredictions", names: Sequence[str], bootstrap: int, bins: int) -> Table:
    """The metrics of a split, each with its interval.

    Args:
        title: the name of the file or split.
        part: the predictions.
        names: of the metrics.
        bootstrap: replicates of the intervals; without any, their column is left out, or has the reasons of values that
            are not finite.
        bins: of the binned metrics.
    """
    from calbench.benchmark import metrics, statistics
    from calbench.benchmark.metrics.base import make_all
    from calbench.benchmark.metrics.sample import Sample
    from calbench.benchmark.metrics.source import Source as Scores

    sample = Sample(Scores(**part.scores(), labels=part.labels))
    made = make_all(names, bins)
    replicates = statistics.resampled(sample, made, bootstrap, seed=0) if bootstrap else {}
    floor = statistics.noise_floor(**part.scores(), seed=0, bins=bins)
    classes = part.logits.shape[1]
    title = f"{title}: {counted(len(part), 'sample')}, {counted(classes, 'class', 'classes')}, {counted(bins, 'bin')}"
    table = Table(title=title, min_width=min(len(title), _NARROW))
    rows: list[tuple[str, str, str, str]] = []
    for name, one in statistics.estimates(sample, made, replicates=replicates).items():
        about = metrics.registry[name]
        interval = (
            f"{one.low:.{about.decimals}f} to {one.high:.{about.decimals}f}" if one.low == one.low else one.reason
        )
        text = interval if bootstrap or not math.isfinite(one.value) else ""
        rows.append((about.spec.label, f"{one.value:.{about.decimals}f}", text, about.unit))
    rows.append(("noise floor of ECE", f"{floor.mean:.2f}", f"95 % below {floor.q95:.2f}" if bootstrap else "", "%"))
    if not bootstrap:
        rows.append(("noise floor, 95 % below", f"{floor.q95:.2f}", "", "%"))
    columns = ["metric", "value", "95 % interval" if bootstrap else "reason", "unit"]
    shown = [place for place in range(len(columns)) if place != _INTERVALS or any(row[_INTERVALS] for row in rows)]
    for place in shown:
        table.add_column(columns[place], justify="left" if columns[place] in ("metric", "unit") else "right")
    for row in rows:
        table.add_row(*(row[place] for place in shown))
    return table
