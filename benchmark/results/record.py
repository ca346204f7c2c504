"""Makes the record of a run: its configuration, the methods and the version of the code, without absolute paths."""

import datetime
import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from calbench.benchmark import metrics
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.core import environment
from calbench.benchmark.core.text import visible_data, without_paths
from calbench.benchmark.results.base_record import parse, plain
from calbench.benchmark.results.records import CellRecord, Declaration, EntryRecord, MethodRecord, RunRecord
from calbench.benchmark.variants import Variant
from calbench.methods import Method


def declaration(
    *, suite: str, title: str, description: str, config: dict[str, Any], protocol: Protocol,
    protocol_text: Sequence[str], baseline: str, entries: Sequence[EntryRecord], seeds: Sequence[int],
    shown: Iterable[str], smoke: bool = False, labels: dict[str, str] | None = None,
) -> Declaration:  # fmt: skip
    """The part of the record that is known before anything is run.

    Args:
        suite: its name.
        title: above the tables.
        description: below the title.
        config: the suite as written, as plain data.
        protocol: what is the same for every entry.
        protocol_text: the lines about it above every table.
        baseline: the entry that changes and reductions refer to.
        entries: an `entry_record` each.
        seeds: of the cells.
        shown: names of the metrics that tables may show.
        smoke: whether it is a smoke test.
        labels: short names of backbones and datasets.
    """
    fields = {
        "suite": suite,
        "title": title,
        "description": description,
        "config": config,
        "protocol": protocol.model_dump(mode="json"),
        "protocol_text": list(protocol_text),
        "baseline": baseline,
        "entries": [plain(entry) for entry in entries],
        "seeds": list(seeds),
        "metrics": [metrics.registry[name].describe() for name in shown],
        "smoke": smoke,
        "labels": labels or {},
    }
    return parse(Declaration, fields, "the record of the suite")


def entry_record(
    name: str, label: str | None, recipe: str, calibrator: str, methods: Iterable[Method | Variant],
    named: Iterable[Method | Variant] = (),
) -> EntryRecord:  # fmt: skip
    """The record of one entry: its label and the methods that it consists of.

    Args:
        name: the entry as written in the suite.
        label: a short name; made of the methods' labels where it is None.
        recipe: its training recipe.
        calibrator: its chain of calibrators, or ``none``.
        methods: all of them, in order.
        named: those that a label is made of; all by default.
    """
    methods = list(methods)
    named = list(named) or methods
    return EntryRecord(
        entry=name,
        label=label or " + ".join(short_label(method) for method in named),
        recipe=recipe,
        calibrator=calibrator,
        families=tuple(dict.fromkeys(str(method.kind) for method in methods)),
        methods=tuple(_method_record(method) for method in methods),
    )


def short_label(method: Method | Variant) -> str:
    """A method's label with the options that differ from the defaults: ``TS (ECE)`` for a criterion of ``ece``.

    A word is shown in capitals where it names a metric, else as it is; a number or a flag with its option's name.
    """
    label = str(method.spec.label)
    shown = [_option(key, value) for key, value in method.changed_options().items()]
    return f"{label} ({', '.join(shown)})" if shown else label


def _option(key: str, value: Any) -> str:
    if isinstance(value, str):
        return str(metrics.registry[value].spec.label) if value in metrics.registry else value
    return f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"


def run_record(
    declared: Declaration,
    cells: Iterable[CellRecord | dict[str, Any]],
    notes: Sequence[str],
    command: str,
    seconds: float,
    inputs: str = "",
) -> RunRecord:
    """The content of ``run.json``: everything that a reader needs to judge or repeat the run.

    Args:
        declared: the `declaration`.
        cells: a record each, or its fields: dataset, backbone, recipe, seed, status and the reason of a failure.
        notes: remarks and warnings, printed with the tables.
        command: the command line.
        seconds: how long the run took.
        inputs: a hash of everything that the results follow from.
    """
    listed = [plain(cell) if isinstance(cell, CellRecord) else cell for cell in cells]
    fields = plain(declared) | {
        "calbench": environment.versions()["calbench"],
        "commit": environment.commit(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "versions": environment.versions(),
        "hardware": environment.hardware(),
        "seconds": round(seconds, 1),
        "datasets": list(dict.fromkeys(cell["dataset"] for cell in listed)),
        "backbones": list(dict.fromkeys(cell["backbone"] for cell in listed)),
        "cells": listed,
        "notes": list(notes),
        "inputs": inputs,
    }
    return parse(RunRecord, visible_data(without_paths(fields)), "the record of the run")


def _method_record(method: Method | Variant) -> MethodRecord:
    return MethodRecord(
        name=method.spec.name,
        label=method.spec.label,
        kind=str(method.kind),
        paper=method.spec.paper,
        options=method.options(),
        doc=inspect.getdoc(type(method)) or "",
    )
