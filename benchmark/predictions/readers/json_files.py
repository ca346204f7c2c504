"""Reads JSON and JSON lines: a dict of lists, a list of records, or a record per line."""

import json
from typing import Any, BinaryIO

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import check_limit, file_budget
from calbench.benchmark.predictions.contents import Contents
from calbench.benchmark.predictions.readers._format import Format
from calbench.benchmark.predictions.readers._nested import flatten

MOST_VALUES = 6_000_000
"""Values and lists that every file may have; one that is not compressed as many as it has bytes."""


def _read(stream: BinaryIO) -> Contents:
    raw = stream.read()
    values, size = sum(map(raw.count, (b",", b"[", b"{"))), file_budget(len(raw)).size
    if values > size:  # it was compressed
        check_limit(values, MOST_VALUES, "values")
    text = raw.decode("utf-8-sig")
    try:
        value = json.loads(text)
    except RecursionError:
        raise InputError("its lists are nested too deeply") from None
    except json.JSONDecodeError as error:
        lines = text.splitlines()
        if len(lines) < 2:
            raise InputError(f"not JSON: {error}") from None
        value = _lines(lines)
    return Contents(flatten(_table(value)), is_table=isinstance(value, list))


def _lines(lines: list[str]) -> list[Any]:
    values = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                values.append(json.loads(line))
            except (json.JSONDecodeError, RecursionError) as error:
                raise InputError(f"line {number} is not JSON: {error}") from None
    return values


def _table(value: Any) -> Any:
    """The rows of what pandas writes with ``orient="split"``, and wandb as a table; anything else as it is."""
    if isinstance(value, dict) and {"columns", "data"} <= value.keys():
        columns, data = value["columns"], value["data"]
        if isinstance(columns, list) and isinstance(data, list) and all(_is_row(row, len(columns)) for row in data):
            return [dict(zip(columns, row, strict=True)) for row in data]
    return value


def _is_row(row: Any, width: int) -> bool:
    return isinstance(row, list) and len(row) == width


FORMAT = Format("JSON", (".json", ".jsonl", ".ndjson"), _read)
