"""Tables from layouts: rows, columns, metrics and marks of a `table_layout.Layout`, filled by pandas."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from calbench.benchmark.config.table_layout import Dimension, Layout, Mark, Quantity, parse_layout
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.metrics.base import relative_reduction
from calbench.benchmark.report.tables.cells import change_cell, loses, reduction_cell, worsens
from calbench.benchmark.report.tables.table import DOES_NOT_APPLY, NOT_THERE, Cell, Column, Row, Table
from calbench.benchmark.report.tables.view import Key, Stat, View
from calbench.benchmark.report.tables.views import Views
from calbench.benchmark.results.records import RunRecord

NOT_IN_SUITE = "no entry of the suite has these methods"
NOT_PUBLISHED = "no published value"
NO_PAIR = "no entry to compare with: none differs from this one only in its pair"
FAMILIES = ("objective", "augmentation", "head", "procedure", "calibrator")
QUANTITY_LABELS: dict[Quantity, str] = {
    "value": "ours", "change": "Δ", "reduction": "reduction", "paired-reduction": "reduction",
    "published": "published", "difference": "difference", "median": "median [range over seeds]",
}  # fmt: skip


def suite_layouts(run: RunRecord) -> list[Layout]:
    """The layouts of the suite that a run is of."""
    return [parse_layout(value, f"tables.{index}") for index, value in enumerate(run.config.tables)]


def layout_table(views: Views, layout: Layout, reference: pd.DataFrame | None = None) -> Table:
    """Make the table that `layout` describes.

    Args:
        views: of the results to show.
        layout: the description.
        reference: published numbers with columns source, dataset, backbone, entry, metric, value, suspect and note.

    Raises:
        InputError: two values fall into one cell, or nothing does.
    """
    records = list(_records(views, layout, reference))
    if not records:
        raise InputError(f"table {layout.name}: nothing in these results matches it")
    view, long = views.main, pd.DataFrame(records)
    dimensions = [*layout.rows, *layout.column_dimensions, "quantity"]
    for name in dimensions:
        long[name] = pd.Categorical(long[name], categories=list(dict.fromkeys(long[name])), ordered=True)
    double = long[long.duplicated(dimensions)]
    if len(double):
        raise InputError(
            f"table {layout.name}: several entries fall into one cell, {double.iloc[0]['entry']!r} among them; "
            f"name one more dimension in its rows or columns"
        )
    wide = long.pivot(index=list(layout.rows), columns=[*layout.column_dimensions, "quantity"], values="cell")
    wide = wide.sort_index(axis=0).sort_index(axis=1)
    columns = tuple(_column(view, layout, tuple(map(str, key))) for key in wide.columns)
    kinds = long.drop_duplicates(list(layout.rows)).set_index(list(layout.rows))["kind"]
    rows = []
    for key, cells in zip(wide.index, wide.to_numpy(), strict=True):
        heads = key if isinstance(key, tuple) else (key,)
        labels = tuple(_label(view, layout, name, str(v)) for name, v in zip(layout.rows, heads, strict=True))
        filled = tuple(cell if isinstance(cell, Cell) else Cell(notes=(NOT_IN_SUITE,)) for cell in cells)
        is_baseline = "entry" in layout.rows and kinds[key] == "baseline"
        rows.append(Row(tuple(map(str, heads)), labels, filled, "baseline" if is_baseline else "entry"))
    title = layout.title or layout.name
    return Table(
        layout.name, title, tuple(layout.rows), columns, tuple(rows), _caption(view, layout), smoke=view.run.smoke
    )


def _caption(view: View, layout: Layout) -> str:
    """The caption, and which metric the table is of if no head names it."""
    info = view.metric(layout.metrics[0])
    unit = f" ({info.unit})" if info.unit else ""
    shown = "" if "metric" in (*layout.rows, *layout.column_dimensions) else f"Values: {info.label}{unit}."
    return " ".join(part for part in (layout.caption.strip(), shown) if part)


def _records(views: Views, layout: Layout, reference: pd.DataFrame | None) -> Iterator[dict[str, Any]]:
    """One record for every quantity that the table shows, with all its dimensions and its cell."""
    published = _published(reference)
    for checkpoint in layout.checkpoints or (None,):
        for split in layout.splits:
            view = views(split, checkpoint)
            paired = _Pairs(view, layout)
            for (dataset, backbone), entry in _wanted(view, layout):
                where = families(view, entry) | {
                    "dataset": dataset, "backbone": backbone, "entry": entry, "checkpoint": view.checkpoint or "",
                    "split": split, "kind": "baseline" if entry == view.baseline else "entry",
                }  # fmt: skip
                for metric in layout.metrics:
                    key = (dataset, backbone, entry, metric)
                    value = _Value(view, key, published.get(key), paired.value(*key), layout.intervals)
                    for quantity in layout.show:
                        cell = _kept(value.cell(quantity), layout)
                        yield where | {"metric": metric, "quantity": quantity, "cell": cell}


def _wanted(view: View, layout: Layout) -> Iterator[tuple[tuple[str, str], str]]:
    for dataset, backbone in view.pairs:
        for entry in layout.entries or view.entries:
            chosen = (not layout.datasets or dataset in layout.datasets) and (
                not layout.backbones or backbone in layout.backbones
            )
            if chosen and entry in view.records:
                yield (dataset, backbone), entry


def families(view: View, entry: str) -> dict[str, str]:
    """The recipe of an entry and its methods by kind, ``none`` where it has none of a kind."""
    record = view.records[entry]
    names = dict.fromkeys(FAMILIES, "none") | {"recipe": record.recipe or entry}
    for method in record.methods:
        if method.kind in FAMILIES:
            before = names[method.kind]
            names[method.kind] = method.name if before == "none" else f"{before} + {method.name}"
    return names | {"calibrator": record.calibrator or names["calibrator"]}


class _Pairs:
    """Finds, for an entry, the value of the one that differs from it only in `Layout.pair`."""

    def __init__(self, view: View, layout: Layout) -> None:
        self.view, self.pair = view, layout.pair
        self.by_family = {self._key(entry): entry for entry in view.entries} if layout.pair else {}

    def _key(self, entry: str) -> tuple[str, ...]:
        names = families(self.view, entry)
        return tuple(names[kind] for kind in FAMILIES)

    def value(self, dataset: str, backbone: str, entry: str, metric: str) -> float | None:
        if not self.pair:
            return None
        own = dict(zip(FAMILIES, self._key(entry), strict=True))
        other = self.by_family.get(tuple((own | self.pair)[kind] for kind in FAMILIES))
        return None if other is None or other == entry else self.view.stat(dataset, backbone, other, metric).value


class _Published(NamedTuple):
    """A published number."""

    value: float
    suspect: bool
    note: str

    def cell(self) -> Cell:
        return Cell(self.value, marks=("suspect",) if self.suspect else (), notes=self._notes)

    @property
    def _notes(self) -> tuple[str, ...]:
        return (self.note,) if self.suspect and self.note else ()


def _published(reference: pd.DataFrame | None) -> dict[Key, _Published]:
    if reference is None:
        return {}
    known = reference[reference["value"].notna()]
    columns = (known[name].astype("str") for name in ("dataset", "backbone", "entry", "metric"))
    values = zip(
        known["value"].astype(float),
        known["suspect"].astype("str").str.lower().isin(["true", "1", "1.0"]),
        known["note"].fillna("").astype("str"),
        strict=True,
    )
    return {key: _Published(*value) for key, value in zip(zip(*columns, strict=True), values, strict=True)}


@dataclass(frozen=True)
class _Value:
    """Everything that a table can show of one metric of one entry."""

    view: View
    key: Key
    published: _Published | None
    other: float | None
    intervals: bool = False

    def cell(self, quantity: Quantity) -> Cell:
        """The cell of one quantity."""
        stat, unpublished = self.view.stat(*self.key), Cell(notes=(NOT_PUBLISHED,))
        is_baseline = self.key[2] == self.view.baseline
        if quantity == "published":
            return self.published.cell() if self.published else unpublished
        if quantity == "difference":
            return self._difference(stat)
        if quantity == "paired-reduction":
            return self._paired(stat)
        if quantity == "value":
            return self._value(stat)
        if quantity == "median":
            return self._median()
        if is_baseline:
            return Cell(text=DOES_NOT_APPLY[0])
        return reduction_cell(stat) if quantity == "reduction" else change_cell(stat)

    def _value(self, stat: Stat) -> Cell:
        if stat.value is None:
            return Cell(notes=tuple(self.view.reasons(*self.key[:3])) or ("not in the results",))
        marks: tuple[Mark, ...] = ("calibrated",) if stat.calibrated else ()
        notes = (stat.interval_reason,) if self.intervals and stat.low is None and stat.interval_reason else ()
        if self.key[3] == "accuracy" and loses(stat):
            marks = (*marks, "accuracy-loss")
        if self.key[3] == "nll" and worsens(stat):
            marks = (*marks, "nll-loss")
        return Cell(stat.value, stat.low, stat.high, marks=marks, bold=bool(stat.tied_with_best), notes=notes)

    def _median(self) -> Cell:
        """The median over seeds, with the range in the place of an interval where there are several."""
        values = self.view.seed_values.get(self.key, [])
        if not values:
            return Cell(notes=tuple(self.view.reasons(*self.key[:3])) or ("not in the results",))
        ends = (min(values), max(values)) if len(values) > 1 else (None, None)
        return Cell(float(np.median(values)), *ends)

    def _difference(self, stat: Stat) -> Cell:
        if self.published is None or stat.value is None:
            return Cell(notes=(NOT_PUBLISHED if self.published is None else NOT_THERE,))
        return Cell(stat.value - self.published.value, marks=self.published.cell().marks)

    def _paired(self, stat: Stat) -> Cell:
        if not self.other or stat.value is None:
            return Cell(notes=(NO_PAIR if stat.value is not None else NOT_THERE,))
        better = self.view.metric(self.key[3]).better
        return Cell(float(relative_reduction(stat.value, self.other, better)))


def _kept(cell: Cell, layout: Layout) -> Cell:
    """The cell with only those marks that the layout asks for."""
    marks = tuple(mark for mark in cell.marks if mark in layout.marks)
    return Cell(**(vars(cell) | {"marks": marks, "bold": cell.bold and "bold" in layout.marks}))


def _column(view: View, layout: Layout, key: tuple) -> Column:
    """The column of a pivoted key; its metric is the layout's first one where metrics are rows."""
    named = dict(zip(layout.column_dimensions, key, strict=False))
    info, quantity = view.metric(str(named.get("metric", layout.metrics[0]))), key[-1]
    heads = [_label(view, layout, n, str(v)) for n, v in zip(layout.column_dimensions, key[:-1], strict=True)]
    if len(layout.show) > 1 or quantity == "median":
        heads.append(QUANTITY_LABELS[quantity])
    reduction, change = quantity in ("reduction", "paired-reduction"), quantity in ("change", "difference")
    return Column(
        "/".join(map(str, key)),
        tuple(heads),
        "%" if reduction else info.unit_of_changes if change else info.unit,
        "higher" if reduction else info.better if quantity in ("value", "published", "median") else None,
        1 if reduction else info.decimals,
        signed=change or reduction,
        interval=quantity == "median" or (layout.intervals and quantity in ("value", "change", "reduction")),
    )


def _label(view: View, layout: Layout, dimension: Dimension, value: str) -> str:
    labels = layout.labels.get(dimension, {})
    if value in labels:
        return labels[value]
    if dimension == "metric":
        return view.metric(value).label
    return view.labels.get(value, value) if dimension == "entry" else value
