"""The interactive page: one self-contained HTML file to sort, filter, compare and inspect all results offline."""

import base64
import hashlib
import importlib.resources
import json
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from calbench.benchmark.report.render.latex import latex
from calbench.benchmark.report.render.page_rows import Item, items, lacks_interval, row_data
from calbench.benchmark.report.render.page_splits import split_data
from calbench.benchmark.report.render.papers import citations, links
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.leaderboard import pair_table
from calbench.benchmark.report.tables.table import DOES_NOT_APPLY, MARKS, Column, Table
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.results.base_record import plain
from calbench.benchmark.results.records import RunRecord

RAW_FILES = ("results.csv", "comparisons.csv", "run.json", "leaderboard.csv", "leaderboard.tex", "leaderboard.md")
"""Files next to the page that it links to."""
WIDE_PRIORITY = 3
"""Columns of this priority number and above are hidden until all columns are asked for."""


def page(report: Report) -> str:
    """The page of a report as HTML.

    The first screen has the overall table and a plot of ECE against accuracy; the protocol is folded below it, then
    come every dataset and backbone, shifted and out-of-distribution splits, the comparison of two entries and the
    suite's own tables.
    """
    main, run = report.view, report.run
    views = [main, *report.views.others]
    rows = items(views)
    columns = pair_table(main, *main.pairs[0], uniform=True).columns if main.pairs else ()
    overall = report.summary if main.entries and main.pairs else None
    script, css, splits = _file("page.js"), _file("page.css"), split_data(report.views)
    occurring = {mark for item in rows for cell in item.row.cells for mark in cell.marks}
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            run=run,
            title=run.shown_title,
            versions=list(run.versions.items()),
            makers=[maker.text for maker in run.makers],
            protocol=report.protocol,
            overall=overall,
            noted=_noted(overall),
            more=[
                block.table for block in report.overall_first if block.dataset is None and block.table is not overall
            ],
            columns=columns,
            shared=shared_names,
            lacks_interval=lacks_interval,
            without_interval=list(dict.fromkeys(note for item in rows for note in item.about_intervals)),
            only={
                key: names[0]
                for key, names in (("dataset", main.datasets), ("backbone", main.backbones))
                if len(names) == 1
            },
            helped=_helped(columns, overall),
            rows=rows,
            extras=report.layouts,
            filters=_filters(views),
            splits=splits,
            entries=[(entry, main.labels[entry]) for entry in main.entries],
            marks=MARKS,
            used=[
                *(meaning for mark, meaning in MARKS.items() if mark in occurring),
                *([DOES_NOT_APPLY] if any(cell.does_not_apply for item in rows for cell in item.row.cells) else []),
            ],
            wide=WIDE_PRIORITY,
            raw=RAW_FILES,
            provenance=_provenance(run),
            css=Markup(css),
            script=Markup(script),
            script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            data=embedded_json(_data(report, rows, overall) | {"splits": splits}),
        )
    )


def shared_names(table: Table) -> dict[str, str]:
    """The heads of rows, less the last, that have one value in all rows, and that value; it is named in the title."""
    levels = list(enumerate(table.row_heads))[:-1]
    values = {head: {row.labels[level] for row in table.rows} for level, head in levels}
    return {head: next(iter(labels)) for head, labels in values.items() if len(labels) == 1}


def _helped(columns: Sequence[Column], overall: Table | None) -> list[tuple[str, str]]:
    """The title and explanation of every column that has one."""
    every = [*(overall.columns if overall else ()), *columns]
    return list({column.title(): column.help for column in every if column.help}.items())


def _noted(table: Table | None) -> dict[str, list[str]]:
    """The notes of a table's cells, each with the labels of the rows that have it."""
    noted: dict[str, list[str]] = {}
    for row in table.rows if table else ():
        for note in dict.fromkeys(note for cell in row.cells for note in cell.notes):
            noted.setdefault(note, []).append(row.labels[0])
    return noted


def embedded_json(value: Any) -> Markup:
    """`value` as JSON that is safe inside a script element: no ``<``, ``>`` or ``&``, NaN as null."""
    text = json.dumps(_plain(value), ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return Markup(text)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if value is None or isinstance(value, str | int | bool) else str(value)


@cache
def _environment() -> Environment:
    loader = PackageLoader("calbench.benchmark.report.render", "templates")
    environment = Environment(
        loader=loader, autoescape=select_autoescape(["j2", "html"], default=True), undefined=StrictUndefined
    )
    environment.filters["zip"] = zip
    return environment


def _file(name: str) -> str:
    return importlib.resources.files("calbench.benchmark.report.render").joinpath("templates", name).read_text("utf-8")


def _filters(views: Sequence[View]) -> list[dict[str, Any]]:
    main = views[0]
    families = dict.fromkeys(family for record in main.records.values() for family in record.families)
    checkpoints = list(dict.fromkeys(view.checkpoint for view in views if view.checkpoint))
    filters: list[dict[str, Any]] = [
        {"key": "dataset", "label": "Dataset", "options": main.datasets, "any": True},
        {"key": "backbone", "label": "Backbone", "options": main.backbones, "any": True},
        {"key": "family", "label": "Family", "options": list(families), "any": True},
        {"key": "checkpoint", "label": "Checkpoint rule", "options": checkpoints, "any": False},
    ]
    return [one for one in filters if len(one["options"]) > 1]


def _data(report: Report, rows: Sequence[Item], overall: Table | None) -> dict[str, Any]:
    """What the plots, the opened rows, the comparison and the downloads show."""
    records = report.view.records
    papers = {method.paper for record in records.values() for method in record.methods if method.paper}
    return {
        "suite": report.run.suite or "results",
        "baseline": report.view.baseline,
        "entries": {
            entry: {"label": report.view.labels[entry], "methods": [plain(method) for method in records[entry].methods]}
            for entry in report.view.entries
        },
        "papers": citations(papers),
        "links": links(papers),
        "overall": _overall_points(report),
        "latex": latex(overall) if overall else "",
        "rows": row_data(report, rows),
    }


def _overall_points(report: Report) -> list[dict[str, Any]]:
    """Mean accuracy and ECE of each entry over all cells, for the first picture."""
    view = report.view
    points = []
    for entry in view.entries:
        stats = [[view.stat(*pair, entry, name).value for name in ("accuracy", "ece")] for pair in view.pairs]
        known = [(accuracy, ece) for accuracy, ece in stats if accuracy is not None and ece is not None]
        if known and len(known) == len(view.pairs):
            accuracy, ece = (sum(values) / len(known) for values in zip(*known, strict=True))
            points.append({"entry": entry, "accuracy": accuracy, "ece": ece})
    return points


def _provenance(run: RunRecord) -> str:
    kept = ("suite", "command", "created", "calbench", "commit", "seconds", "hardware", "versions", "config")
    return json.dumps({name: plain(run)[name] for name in kept}, indent=1, default=str, ensure_ascii=False)
