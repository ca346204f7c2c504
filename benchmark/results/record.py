"""The one schema of ``run.json``: what was declared, what was run, and with which code; and no absolute path."""

import datetime
import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from calbench.benchmark import metrics
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.core import environment
from calbench.benchmark.results.results import FORMAT
from calbench.methods import Method

_ABSOLUTE_PATH = re.compile(r"""(?:(?<=[\s=('"\[:,])|^)~?/(?=[\w.])[^\s,()'"\]]*""")


def declaration(
    *, suite: str, title: str, description: str, config: dict[str, Any], protocol: Protocol, protocol_text: list[str],
    baseline: str, entries: list[dict[str, Any]], seeds: list[int], shown: Iterable[str],
) -> dict[str, Any]:  # fmt: skip
    """The part of the record that is known before anything is run.

    Args:
        suite: its name.
        title: above the tables.
        description: below the title.
        config: the suite as written, as plain data.
        protocol: what is the same for every entry.
        protocol_text: the lines that say so above every table.
        baseline: the entry that changes and reductions refer to.
        entries: an `entry_record` each.
        seeds: of the cells.
        shown: names of the metrics that tables may show.
    """
    return {
        "suite": suite,
        "title": title,
        "description": description,
        "config": config,
        "protocol": protocol.model_dump(mode="json"),
        "protocol_text": protocol_text,
        "baseline": baseline,
        "entries": entries,
        "seeds": seeds,
        "metrics": [metrics.registry[name].describe() for name in shown],
    }


def entry_record(
    name: str, label: str | None, recipe: str, calibrator: str, methods: Iterable[Method]
) -> dict[str, Any]:
    """What the record says of one entry: what it is called, and of which methods it is made."""
    methods = list(methods)
    return {
        "entry": name,
        "label": label or " + ".join(method.spec.label for method in methods),
        "recipe": recipe,
        "calibrator": calibrator,
        "families": list(dict.fromkeys(method.kind for method in methods)),
        "methods": _method_records(methods),
    }


def run_record(
    declared: dict[str, Any], cells: list[dict[str, Any]], notes: list[str], command: str, seconds: float
) -> dict[str, Any]:
    """What stands in ``run.json``: everything that a reader needs to judge or repeat the run.

    Args:
        declared: the `declaration`.
        cells: a dict each, with dataset, backbone, recipe, seed, status and the reason of a failure.
        notes: remarks and warnings, printed with the tables.
        command: the command line.
        seconds: how long the run took.
    """
    stamp = {
        "format": FORMAT,
        "calbench": environment.versions()["calbench"],
        "commit": environment.commit(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "versions": environment.versions(),
        "hardware": environment.hardware(),
        "seconds": round(seconds, 1),
    }
    found = {
        "datasets": list(dict.fromkeys(cell["dataset"] for cell in cells)),
        "backbones": list(dict.fromkeys(cell["backbone"] for cell in cells)),
        "cells": cells,
        "notes": notes,
    }
    return without_paths(stamp | declared | found)


def _method_records(methods: Iterable[Method]) -> list[dict[str, Any]]:
    """Name, label, kind, paper, options and docstring of each method, as plain data."""
    return [
        {
            "name": method.spec.name,
            "label": method.spec.label,
            "kind": method.kind,
            "paper": method.spec.paper,
            "options": method.options(),
            "doc": inspect.getdoc(type(method)) or "",
        }
        for method in methods
    ]


def without_paths(value: Any) -> Any:
    """Plain data with every absolute path cut to its last part: no artefact holds one."""
    if isinstance(value, str):
        return _ABSOLUTE_PATH.sub(lambda match: Path(match[0]).name, value)
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    return [without_paths(item) for item in value] if isinstance(value, list) else value
