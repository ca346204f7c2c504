"""Tables from layouts: rows, columns, metrics and marks of a `table_layout.Layout`, filled by pandas."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from calbench.benchmark.config.table_layout import Layout, Mark, Quantity, parse_layout
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.metrics.base import relative_reduction
from calbench.benchmark.report.tables.table import Cell, Column, Row, Table
from calbench.benchmark.report.tables.view import MetricInfo, Stat, View
from calbench.benchmark.results.results import Results

FAMILIES = ("objective", "augmentation", "head", "calibrator")
QUANTITY_LABELS: dict[Quantity, str] = {
    "value": "ours", "change": "Δ", "reduction": "reduction", "paired-reduction": "reduction",
    "published": "published", "difference": "difference",
}  # fmt: skip


def suite_layouts(results: Results) -> list[Layout]:
    """The layouts of the suite that the results are of."""
    config = results.run.get("config") or {}
    return [parse_layout(value, f"tables.{index}") for index, value in enumerate(config.get("tables") or [])]


def layout_table(results: Results, layout: Layout, reference: pd.DataFrame | None = None) -> Table:
    """Make the table that `layout` describes.

    Args:
        results: what to show.
        layout: the description.
        reference: published numbers with columns source, dataset, backbone, entry, metric, value, suspect and note.

    Raises:
        InputError: two values fall into one cell, or nothing does.
    """
    records = list(_records(results, layout, reference))
    if not records:
        raise InputError(f"table {layout.name}: nothing in these results matches it")
    view, long = View(results), pd.DataFrame(records)
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
    columns = tuple(_column(view, layout, key) for key in wide.columns)
    kinds = long.drop_duplicates(list(layout.rows)).set_index(list(layout.rows))["kind"]
    rows = []
    for key, cells in zip(wide.index, wide.to_numpy(), strict=True):
        heads = key if isinstance(key, tuple) else (key,)
        labels = tuple(_label(view, layout, name, str(v)) for name, v in zip(layout.rows, heads, strict=True))
        filled = tuple(cell if isinstance(cell, Cell) else Cell(text="") for cell in cells)
        kind = kinds[key] if "entry" in layout.rows else "entry"
        rows.append(Row(tuple(map(str, heads)), labels, filled, kind))
    title = layout.title or layout.name
    return Table(layout.name, title, tuple(layout.rows), columns, tuple(rows), _caption(view, layout))


def _caption(view: View, layout: Layout) -> str:
    """The caption, and which metric the table is of where no head says so."""
    info = view.metric(layout.metrics[0])
    unit = f" ({info.unit})" if info.unit else ""
    shown = "" if "metric" in (*layout.rows, *layout.column_dimensions) else f"Values: {info.label}{unit}."
    return " ".join(part for part in (layout.caption.strip(), shown) if part)


def _records(results: Results, layout: Layout, reference: pd.DataFrame | None) -> Iterator[dict[str, Any]]:
    """One record for every quantity that the table shows, with all its dimensions and its cell."""
    published = _published(reference)
    for checkpoint in layout.checkpoints or (None,):
        for split in layout.splits:
            view = View(results, split=split, checkpoint=checkpoint)
            paired = _Pairs(view, layout)
            for (dataset, backbone), entry in _wanted(view, layout):
                where = families(view, entry) | {
                    "dataset": dataset, "backbone": backbone, "entry": entry, "checkpoint": view.checkpoint or "",
                    "split": split, "kind": "baseline" if entry == view.baseline else "entry",
                }  # fmt: skip
                for metric in layout.metrics:
                    stat = view.stat(dataset, backbone, entry, metric)
                    theirs = published.get((dataset, backbone, entry, metric), {})
                    reasons = tuple(view.reasons(dataset, backbone, entry)) or ("not in the results",)
                    other = paired.value(dataset, backbone, entry, metric)
                    for quantity in layout.show:
                        cell = _cell(quantity, stat, theirs, other, view.metric(metric))
                        if quantity in ("change", "reduction") and entry == view.baseline:
                            cell = Cell(text="")
                        if cell.missing and quantity == "value":
                            cell = Cell(notes=reasons)
                        yield where | {"metric": metric, "quantity": quantity, "cell": _kept(cell, layout)}


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
    found = dict.fromkeys(FAMILIES, "none") | {"recipe": str(record.get("recipe") or entry)}
    for method in record.get("methods") or []:
        kind = method.get("kind")
        if kind in FAMILIES:
            name = str(method.get("name"))
            found[kind] = name if found[kind] == "none" else f"{found[kind]} + {name}"
    if record.get("calibrator"):
        found["calibrator"] = str(record["calibrator"])
    return found


class _Pairs:
    """Finds, for an entry, the value of the one that differs from it in `Layout.pair` alone."""

    def __init__(self, view: View, layout: Layout) -> None:
        self.view, self.pair = view, layout.pair
        self.by_family = {self._key(entry): entry for entry in view.entries} if layout.pair else {}

    def _key(self, entry: str) -> tuple[str, ...]:
        found = families(self.view, entry)
        return tuple(found[kind] for kind in FAMILIES)

    def value(self, dataset: str, backbone: str, entry: str, metric: str) -> float | None:
        if not self.pair:
            return None
        own = dict(zip(FAMILIES, self._key(entry), strict=True))
        other = self.by_family.get(tuple((own | self.pair)[kind] for kind in FAMILIES))
        return None if other is None or other == entry else self.view.stat(dataset, backbone, other, metric).value


def _published(reference: pd.DataFrame | None) -> dict[tuple[str, str, str, str], dict[str, Any]]:
    if reference is None:
        return {}
    keys = ("dataset", "backbone", "entry", "metric")
    return {tuple(row[k] for k in keys): row for row in reference.to_dict("records")}


def _cell(quantity: Quantity, stat: Stat, theirs: dict[str, Any], other: float | None, info: MetricInfo) -> Cell:
    published = theirs.get("value")
    published = None if published is None or pd.isna(published) else float(published)
    marks: tuple[Mark, ...] = ("suspect",) if theirs.get("suspect") in (True, "true", "True", 1) else ()
    note = theirs.get("note")
    notes = (str(note),) if marks and note and not pd.isna(note) else ()
    if quantity == "published":
        return Cell(published, marks=marks, notes=notes) if published is not None else Cell(text="")
    if quantity == "difference":
        known = published is not None and stat.value is not None
        return Cell(stat.value - published, marks=marks) if known else Cell(text="")
    if quantity == "paired-reduction":
        known = other and stat.value is not None
        return Cell(relative_reduction(stat.value, other, info.better)) if known else Cell(text="")
    same: tuple[Mark, ...] = ("same",) if stat.differs is False else ()
    if quantity == "reduction":
        return Cell(stat.reduction, stat.reduction_low, stat.reduction_high, marks=same)
    if quantity == "change":
        return Cell(stat.change, stat.change_low, stat.change_high, marks=same)
    lost = info.name == "accuracy" and bool(stat.differs) and (stat.change or 0) < 0
    own: tuple[Mark, ...] = ("calibrated",) if stat.calibrated else ()
    own += ("accuracy-loss",) if lost else ()
    return Cell(stat.value, stat.low, stat.high, marks=own, bold=bool(stat.tied_with_best))


def _kept(cell: Cell, layout: Layout) -> Cell:
    """The cell with those marks alone that the layout wants."""
    marks = tuple(mark for mark in cell.marks if mark in layout.marks)
    return Cell(**(vars(cell) | {"marks": marks, "bold": cell.bold and "bold" in layout.marks}))


def _column(view: View, layout: Layout, key: tuple) -> Column:
    """The column of a pivoted key; its metric is the layout's first one where metrics are rows."""
    named = dict(zip(layout.column_dimensions, key, strict=False))
    info, quantity = view.metric(str(named.get("metric", layout.metrics[0]))), key[-1]
    heads = [_label(view, layout, n, str(v)) for n, v in zip(layout.column_dimensions, key[:-1], strict=True)]
    if len(layout.show) > 1:
        heads.append(QUANTITY_LABELS[quantity])
    reduction, change = quantity in ("reduction", "paired-reduction"), quantity in ("change", "difference")
    return Column(
        "/".join(map(str, key)),
        tuple(heads),
        "%" if reduction else info.unit_of_changes if change else info.unit,
        "higher" if reduction else info.better if quantity in ("value", "published") else None,
        1 if reduction else info.decimals,
        signed=change or reduction,
        interval=layout.intervals and quantity in ("value", "change", "reduction"),
    )


def _label(view: View, layout: Layout, dimension: str, value: str) -> str:
    given = layout.labels.get(dimension, {})
    if value in given:
        return given[value]
    if dimension == "metric":
        return view.metric(value).label
    return view.labels.get(value, value) if dimension == "entry" else value
