"""The rows of the page's large table, and the data behind each of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from calbench.benchmark.core.schema import ORACLE
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.cells import NO_POSTERIOR
from calbench.benchmark.report.tables.leaderboard import pair_table
from calbench.benchmark.report.tables.table import Cell, Column, Row
from calbench.benchmark.report.tables.view import Stat, View

STRIP_WIDTH = 150
_BINS = ("low", "high", "count", "confidence", "accuracy", "accuracy_low", "accuracy_high")


@dataclass(frozen=True)
class Strip:
    """Where the drawn interval of a row lies, in pixels, and its description."""

    label: str
    value: float
    low: float | None
    high: float | None
    floor: float | None
    base: float | None


@dataclass(frozen=True)
class Item:
    """One row of the large table: an entry on a dataset and backbone, at a checkpoint rule and a split."""

    row: Row
    view: View
    dataset: str
    backbone: str
    shown: bool
    strip: Strip | None
    columns: tuple[Column, ...]

    @property
    def entry(self) -> str:
        """The entry's name."""
        return self.row.names[0]

    @property
    def notes(self) -> tuple[str, ...]:
        """Reasons of what is missing, each once; that data are real, so that no posterior is known, is none."""
        notes = dict.fromkeys(note for cell in self.row.cells for note in cell.notes)
        return tuple(note for note in notes if note != NO_POSTERIOR and note not in self.about_intervals)

    @property
    def about_intervals(self) -> tuple[str, ...]:
        """The notes of which every cell has its value, and lacks no more than the interval of its column."""
        cells = list(zip(self.columns, self.row.cells, strict=True))
        notes = dict.fromkeys(note for column, cell in cells for note in cell.notes if lacks_interval(column, cell))
        others = {note for column, cell in cells for note in cell.notes if not lacks_interval(column, cell)}
        return tuple(note for note in notes if note not in others)

    @property
    def checkpoint(self) -> str:
        """The checkpoint rule."""
        return self.view.checkpoint or ""

    @property
    def split(self) -> str:
        """The split."""
        return self.view.split

    @property
    def families(self) -> str:
        """The kinds of its methods, separated by spaces."""
        record = self.view.records.get(self.entry)
        return " ".join(record.families) if record else ""

    @property
    def text(self) -> str:
        """What the search looks through."""
        record = self.view.records.get(self.entry)
        methods = [method.label for method in record.methods] if record else []
        return " ".join([self.entry, self.row.labels[0], self.dataset, self.backbone, *methods, self.families])


def items(views: Sequence[View]) -> list[Item]:
    """The rows of all views; those of the first are shown at the start."""
    scales = _scales(views[0])
    return [
        Item(row, view, *pair, view is views[0], _strip(view, pair, row.names[0], scales.get(pair, 1.0)), table.columns)
        for view in views
        for pair in view.pairs
        for table in [pair_table(view, *pair, uniform=True)]
        for row in table.rows
    ]


def lacks_interval(column: Column, cell: Cell) -> bool:
    """Whether a cell shows its value, and no interval in a column of intervals."""
    return not cell.missing and column.interval and not cell.has_interval


def _ece(view: View, pair: tuple[str, str], entry: str) -> Stat:
    return view.oracle(*pair, "ece") if entry == ORACLE else view.stat(*pair, entry, "ece")


def _scales(view: View) -> dict[tuple[str, str], float]:
    """For each dataset and backbone the largest ECE, or upper end of one; what lies above it is drawn at the edge."""
    scales: dict[tuple[str, str], float] = {}
    for (dataset, backbone, _, metric), stat in view.stats.items():
        if metric == "ece":
            ends = [end for end in (stat.value, stat.high) if end]
            scales[dataset, backbone] = max([scales.get((dataset, backbone), 0.0), *ends]) or 1.0
    return scales


def _strip(view: View, pair: tuple[str, str], entry: str, scale: float) -> Strip | None:
    stat = _ece(view, pair, entry)
    if stat.value is None:
        return None

    def at(value: float | None) -> float | None:
        return None if value is None else round(4 + (STRIP_WIDTH - 8) * min(max(value / scale, 0), 1), 1)

    label = f"ECE {stat.value:.2f} %"
    known = stat.low is not None and stat.high is not None
    if known:
        label += f", interval {stat.low:.2f} to {stat.high:.2f} %"
    return Strip(
        label=f"{label}; drawn on 0 to {scale:.3g} %",
        value=at(stat.value) or 4.0,
        low=at(stat.low) if known else None,
        high=at(stat.high) if known else None,
        floor=at(view.floor(*pair, entry)[1]),
        base=at(view.stat(*pair, view.baseline or "", "ece").value),
    )


def row_data(report: Report, rows: Sequence[Item]) -> list[dict[str, Any]]:
    """For every row its metrics, reliability diagrams and training runs."""
    diagrams: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for diagram in report.results.diagrams:
        where = (diagram.dataset, diagram.backbone, diagram.entry, str(diagram.checkpoint or ""), diagram.split)
        bins = [[_rounded(each[name]) for name in _BINS] for each in diagram.bins]
        diagrams.setdefault(where, []).append({"seed": diagram.seed, "bins": bins})
    return [
        {
            "entry": item.entry,
            "dataset": item.dataset,
            "backbone": item.backbone,
            "metrics": _metric_values(item),
            "diagrams": diagrams.get((item.dataset, item.backbone, item.entry, item.checkpoint, item.split), []),
            "cells": _runs(item),
        }
        for item in rows
    ]


def _rounded(value: Any) -> Any:
    """A fraction with as many digits as a diagram can show: a page of a hundred entries stays small."""
    return round(value, 4) if isinstance(value, float) else value


def _metric_values(item: Item) -> list[dict[str, Any]]:
    values = []
    for name in item.view.metric_names:
        info, stat = item.view.metric(name), item.view.stat(item.dataset, item.backbone, item.entry, name)
        values.append({"name": name, "label": info.label, "unit": info.unit, "decimals": info.decimals,
                       "value": stat.value, "low": stat.low, "high": stat.high})  # fmt: skip
    return values


def _runs(item: Item) -> list[dict[str, Any]]:
    if item.entry == ORACLE:
        return []
    cells = item.view.cells(item.dataset, item.backbone, item.entry)
    names = ("key", "seed", "status", "reason", "seconds", "parameters")
    return [{name: cell[name] for name in names} | {"extra": cell.extra_parameters_percent} for cell in cells]
