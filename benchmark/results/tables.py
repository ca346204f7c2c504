"""Reads the tidy CSV files and checks their columns and types; errors name the line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.schema import COMPARISON_SCHEMA, FLAG_WORDS, PAIR_SCHEMA, RESULT_SCHEMA, Column, conform
from calbench.benchmark.core.text import from_csv

_SCHEMA = (*RESULT_SCHEMA, *COMPARISON_SCHEMA, *PAIR_SCHEMA)
_TEXT = {column.name: "str" for column in _SCHEMA if column.kind == "text"}
_EXACT: dict[str, Any] = {"float_precision": "round_trip"} if pd.__version__.startswith("2.") else {}
"""pandas 2 reads every sixth number off by its last bit unless told otherwise; pandas 3 does not."""
_MISSING = ("", "nan", "NaN", "-nan", "NA", "N/A", "#N/A", "<NA>", "null", "NULL", "None")
"""What an empty cell of a column of numbers may be. In texts it is nothing but "": an entry may be called NA."""


def read_with_schema(path: Path, schema: Sequence[Column]) -> pd.DataFrame:
    """Read a CSV with the columns of `schema`; optional ones that an earlier version did not write are empty.

    Raises:
        InputError: the file is missing, is not a CSV, lacks a required column, or has a value of the wrong kind.
    """
    table = read_table(path, [column.name for column in schema if column.required])
    for column in schema:
        if column.name not in table or column.kind == "text":
            continue
        if column.kind == "flag":
            _check_flags(table[column.name], shown(path), column.name)
        elif column.name != "value":
            table[column.name] = as_numbers(table[column.name], shown(path), column.name)
    return conform(table, schema, shown(path))


def read_table(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Read a CSV with at least `columns`.

    Raises:
        InputError: the file is missing, is not a CSV, lacks a column, or has a value that is not a number.
    """
    try:
        names = cast("pd.DataFrame", cast("Any", pd).read_csv(path, nrows=0)).columns
        missing = {name: ("",) if name in _TEXT else _MISSING for name in names}
        options = {"dtype": dict(_TEXT), "keep_default_na": False, "na_values": missing, **_EXACT}
        table = cast("pd.DataFrame", cast("Any", pd).read_csv(path, **options))
    except FileNotFoundError:
        raise InputError(f"{shown(path)}: no such file") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{shown(path)}: not a readable CSV: {' '.join(str(error).split())}") from None
    table = from_csv(table)
    absent = [column for column in columns if column not in table.columns]
    if absent:
        raise InputError(f"{shown(path)}: the column {absent[0]!r} is missing")
    return table.assign(value=as_numbers(table["value"], shown(path))) if "value" in columns else table


def _check_flags(values: pd.Series, where: str, name: str) -> None:
    words = [str(value).strip().lower() for value in values.tolist()]
    wrong = [place for place, word in enumerate(words) if word not in FLAG_WORDS]
    if wrong:
        raise InputError(f"{where}, line {wrong[0] + 2}: {name} is {words[wrong[0]]!r}, neither true nor false")


def as_numbers(values: pd.Series, where: str, name: str = "the value") -> pd.Series:
    """A column of a CSV as floats, NaN where a cell is empty.

    Args:
        values: the column.
        where: the file, for the error.
        name: what the column holds, for the error.

    Raises:
        InputError: a cell holds something else; the message starts with `where` and names the line.
    """
    numbers = pd.to_numeric(values, errors="coerce").astype(float)
    wrong = [place for place, bad in enumerate((values.notna() & numbers.isna()).tolist()) if bad]
    if wrong:
        line = wrong[0] + 2  # the head is the first
        raise InputError(f"{where}, line {line}: {name} {values.tolist()[wrong[0]]!r} is not a number")
    return numbers


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as dicts by column name."""
    return [{str(name): value for name, value in row.items()} for row in table.to_dict("records")]


def shown(path: Path) -> str:
    """A file in its folder: enough to find it, and no path of somebody's machine."""
    return "/".join(filter(None, (path.parent.name, path.name)))
