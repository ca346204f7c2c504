"""The page: one self-contained HTML file that sorts, filters and opens every stored cell, with no network."""

import base64
import hashlib
import importlib.resources
import json
import math
from collections.abc import Iterator
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from calbench.benchmark.core.schema import ORACLE
from calbench.benchmark.report.render.papers import citations
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.leaderboard import pair_table
from calbench.benchmark.report.tables.table import MARKS
from calbench.benchmark.report.tables.view import Stat, View
from calbench.benchmark.results.records import RunRecord, plain

STRIP_WIDTH = 150
_BINS = ("low", "high", "count", "confidence", "accuracy", "accuracy_low", "accuracy_high")


def page(report: Report) -> str:
    """The page of a report as HTML; the suite's own tables are shown below the leaderboard."""
    main, run = report.view, report.run
    views = [main, *report.views.others]
    rows = [item for view in views for item in _items(view, shown=view is main)]
    scales = _scales(main)
    for item in rows:
        item["strip"] = _strip(item, scales.get((item["dataset"], item["backbone"]), 1.0))
    script, css = _file("page.js"), _file("page.css")
    tables = [pair_table(main, *pair, uniform=True) for pair in main.pairs[:1]]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            run=run,
            title=run.shown_title,
            versions=list(run.versions.items()),
            protocol=report.protocol,
            overall=report.summary if main.entries and main.pairs else None,
            columns=tables[0].columns if tables else (),
            rows=rows,
            extras=report.layouts,
            filters=_filters(views),
            marks=MARKS,
            used=[MARKS[mark] for mark in MARKS if any(mark in c.marks for i in rows for c in i["row"].cells)],
            provenance=_provenance(run),
            css=Markup(css),
            script=Markup(script),
            script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            data=embedded_json(_data(main, rows)),
        )
    )


def embedded_json(value: Any) -> Markup:
    """`value` as JSON that can stand in a script element: no ``<``, ``>`` or ``&``, NaN as null."""
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


def _environment() -> Environment:
    loader = PackageLoader("calbench.benchmark.report.render", "templates")
    return Environment(
        loader=loader, autoescape=select_autoescape(["j2", "html"], default=True), undefined=StrictUndefined
    )


def _file(name: str) -> str:
    return importlib.resources.files("calbench.benchmark.report.render").joinpath("templates", name).read_text("utf-8")


def _items(view: View, shown: bool) -> Iterator[dict[str, Any]]:
    """One dict for each row of the large table."""
    for dataset, backbone in view.pairs:
        for row in pair_table(view, dataset, backbone, uniform=True).rows:
            entry = row.names[0]
            record = view.records.get(entry)
            families = record.families if record else ()
            methods = [method.label for method in record.methods] if record else []
            yield {
                "row": row, "notes": row.cells[0].notes, "entry": entry, "dataset": dataset, "backbone": backbone,
                "view": view, "shown": shown,
                "checkpoint": view.checkpoint or "", "split": view.split, "families": " ".join(map(str, families)),
                "text": " ".join([entry, row.labels[0], dataset, backbone, *methods, *map(str, families)]),
            }  # fmt: skip


def _ece(item: dict[str, Any]) -> Stat:
    view, entry = item["view"], item["entry"]
    find = view.oracle if entry == ORACLE else lambda d, b, metric: view.stat(d, b, entry, metric)
    return find(item["dataset"], item["backbone"], "ece")


def _scales(view: View) -> dict[tuple[str, str], float]:
    """For each dataset and backbone the largest ECE, or upper end of one; what lies above it is drawn at the edge."""
    scales: dict[tuple[str, str], float] = {}
    for (dataset, backbone, _, metric), stat in view.stats.items():
        if metric == "ece":
            ends = [end for end in (stat.value, stat.high) if end]
            scales[dataset, backbone] = max([scales.get((dataset, backbone), 0.0), *ends]) or 1.0
    return scales


def _strip(item: dict[str, Any], scale: float) -> dict[str, Any] | None:
    """Where the drawn interval of a row lies, in pixels."""
    stat = _ece(item)
    if stat.value is None:
        return None
    view, pair = item["view"], (item["dataset"], item["backbone"])

    def at(value: float | None) -> float | None:
        return None if value is None else round(4 + (STRIP_WIDTH - 8) * min(max(value / scale, 0), 1), 1)

    whisker = stat.low is not None and stat.high is not None
    label = f"ECE {stat.value:.2f} %" + (f", interval {stat.low:.2f} to {stat.high:.2f} %" if whisker else "")
    label += f"; drawn on 0 to {scale:.3g} %"
    return {
        "value": at(stat.value), "low": at(stat.low) if whisker else None, "high": at(stat.high), "label": label,
        "floor": at(view.floor(*pair, item["entry"])[1]),
        "base": at(view.stat(*pair, view.baseline or "", "ece").value),
    }  # fmt: skip


def _filters(views: list[View]) -> list[dict[str, Any]]:
    main = views[0]
    families = dict.fromkeys(f for record in main.records.values() for f in record.families)
    checkpoints = list(dict.fromkeys(view.checkpoint for view in views if view.checkpoint))
    splits = list(dict.fromkeys(view.split for view in views))
    return [
        {"key": "dataset", "label": "Dataset", "options": main.datasets, "any": True},
        {"key": "backbone", "label": "Backbone", "options": main.backbones, "any": True},
        {"key": "family", "label": "Family", "options": list(families), "any": True},
        {"key": "checkpoint", "label": "Checkpoint rule", "options": checkpoints, "any": False},
        {"key": "split", "label": "Split", "options": splits, "any": False},
    ]


def _data(main: View, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the opened rows show."""
    diagrams: dict[tuple, list[dict[str, Any]]] = {}
    for diagram in main.results.diagrams:
        where = (diagram.dataset, diagram.backbone, diagram.entry, str(diagram.checkpoint), diagram.split)
        bins = [[_rounded(each[name]) for name in _BINS] for each in diagram.bins]
        diagrams.setdefault(where, []).append({"seed": diagram.seed, "bins": bins})
    methods = [method for record in main.records.values() for method in record.methods]
    return {
        "entries": {e: {"methods": [plain(m) for m in record.methods]} for e, record in main.records.items()},
        "papers": citations({method.paper for method in methods if method.paper}),
        "rows": [
            {
                "entry": item["entry"],
                "metrics": _metric_values(item),
                "diagrams": diagrams.get(
                    (item["dataset"], item["backbone"], item["entry"], item["checkpoint"], item["split"]), []
                ),
                "cells": _manifest(item),
            }
            for item in rows
        ],
    }


def _rounded(value: Any) -> Any:
    """A fraction with as many digits as a diagram can show: a page of a hundred entries stays small."""
    return round(value, 4) if isinstance(value, float) else value


def _metric_values(item: dict[str, Any]) -> list[dict[str, Any]]:
    view, entry = item["view"], item["entry"]
    values = []
    for name in view.metric_names:
        info, stat = view.metric(name), view.stat(item["dataset"], item["backbone"], entry, name)
        values.append({"label": info.label, "unit": info.unit, "decimals": info.decimals, "value": stat.value,
                       "low": stat.low, "high": stat.high})  # fmt: skip
    return values


def _manifest(item: dict[str, Any]) -> list[dict[str, Any]]:
    if item["entry"] == ORACLE:
        return []
    cells = item["view"].cells(item["dataset"], item["backbone"], item["entry"])
    names = ("key", "seed", "status", "reason", "seconds", "parameters")
    return [{name: c[name] for name in names} | {"extra": c.extra_parameters_percent} for c in cells]


def _provenance(run: RunRecord) -> str:
    kept = ("suite", "command", "created", "calbench", "commit", "seconds", "hardware", "versions", "config")
    return json.dumps({name: plain(run)[name] for name in kept}, indent=1, default=str, ensure_ascii=False)
