"""What the tables over all cells share: the values of each entry, their order, and the cells that are left out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from calbench.benchmark.config.table_layout import Mark
from calbench.benchmark.core.text import counted
from calbench.benchmark.report.tables.cells import in_noise, position
from calbench.benchmark.report.tables.table import Cell, Column, Row
from calbench.benchmark.report.tables.view import Stat, View
from calbench.benchmark.results.tables import rows_of
from calbench.benchmark.statistics import aggregate


@dataclass(frozen=True)
class Whole:
    """What the tables over all cells share."""

    view: View
    metric: str
    order: str

    def stats(self, entry: str, metric: str) -> list[tuple[str, Stat]]:
        """The dataset and the statistics of an entry, for each pair that has a value."""
        known = ((d, self.view.stat(d, b, entry, metric)) for d, b in self.view.pairs)
        return [(dataset, stat) for dataset, stat in known if stat.value is not None]

    @cached_property
    def ranked(self) -> list[str]:
        """Entries with every cell by the mean of the order's metric, then those without."""
        return sorted(self.view.entries, key=lambda entry: self.place(entry, self.by))

    @property
    def by(self) -> str:
        """The metric of the order."""
        return self.order if self.view.knows(self.order) else self.metric

    def place(self, entry: str, metric: str) -> tuple[bool, float]:
        """The sort key of an entry: whether a cell is missing, then its mean."""
        values = [stat.value for _, stat in self.stats(entry, metric) if stat.value is not None]
        mean = sum(values) / len(values) if values else None
        return len(values) < len(self.view.pairs), position(mean, self.view.metric(metric).better)

    def partial(self, count: int) -> tuple[Mark, ...]:
        """The mark of an average over only `count` of the cells."""
        return ("partial",) if 0 < count < len(self.view.pairs) else ()

    def row(self, entry: str, cells: Mapping[str, Cell], columns: Sequence[Column]) -> Row:
        """A row of the table with these columns."""
        kind = "baseline" if entry == self.view.baseline else "entry"
        return Row((entry,), (self.view.labels[entry],), tuple(cells[column.key] for column in columns), kind)

    @cached_property
    def nll_summary(self) -> dict[str, dict[str, Any]]:
        """The aggregates of the NLL by entry, with intervals of the changes."""
        options: dict[str, Any] = {"metric": "nll", "baseline": self.view.baseline, "expected": len(self.view.pairs)}
        return by_entry(aggregate(self.view.table, comparisons=self.view.comparisons, **options))

    @cached_property
    def measurable(self) -> list[tuple[str, str]]:
        """The pairs whose baseline has an error above its own noise: only there is a reduction a number."""
        base = self.view.baseline or ""
        return [pair for pair in self.view.pairs if not in_noise(self.view.stat(*pair, base, self.metric))]


def by_entry(summary: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """The rows of aggregates by entry."""
    return {str(row["entry"]): row for row in rows_of(summary)}


def absent(whole: Whole, entry: str) -> tuple[str, ...]:
    """One footnote that names the pairs without a value."""
    pairs = [f"{d} / {b}" for d, b in whole.view.pairs if whole.view.stat(d, b, entry, whole.metric).value is None]
    more = f" and {len(pairs) - 4} more" if len(pairs) > 4 else ""
    return (f"missing: {', '.join(pairs[:4])}{more}",) if pairs else ()


def noise_line(whole: Whole) -> str:
    """How many cells the reductions leave out."""
    skipped, count = len(whole.view.pairs) - len(whole.measurable), len(whole.view.pairs)
    return (
        f"Reductions leave out {skipped} of {counted(count, 'cell')}: there the baseline is within its noise."
        if skipped
        else ""
    )
