"""Reads text in columns, separated by commas, semicolons, tabs, bars or blanks, with or without a header line."""

import codecs
import io
import json
from typing import Any, BinaryIO

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.contents import Contents, Leaf
from calbench.benchmark.predictions.readers._bounds import check_count, texts
from calbench.benchmark.predictions.readers._format import Format
from calbench.benchmark.predictions.readers._layout import Layout, find_layout

_LONGEST_NAME = 1000
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def _read(stream: BinaryIO) -> Contents:
    text = _decode(stream.read())
    if "\0" in text[:1000]:
        raise InputError("not a text file")
    layout = find_layout(text)
    if any(len(name) > _LONGEST_NAME for name in layout.names):
        raise InputError(f"a column's name is longer than {_LONGEST_NAME} characters")
    check_count(len(layout.names))
    columns = _columns(text, layout)
    leaves: dict[str, Leaf] = {}
    first: dict[str, int] = {}
    for number, name in enumerate(layout.names):
        first.setdefault(name, number)
        if name in leaves:
            reason = f"columns {first[name] + 1} and {number + 1} are both named {name!r}; rename one of them"
            leaves[name] = Leaf.unreadable("two columns", reason, leaves[name].shape)
        elif number not in layout.dropped and (leaf := _leaf(name, columns[number])) is not None:
            leaves[name] = leaf
    return Contents(leaves, is_table=True, header=layout.has_header, notes=list(layout.notes))


def _decode(data: bytes) -> str:
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return data.decode(encoding)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _columns(text: str, layout: Layout) -> list[Any]:
    import pandas as pd

    frame = pd.read_csv(
        io.StringIO(text),
        sep=layout.separator or "\0",
        decimal=layout.decimal,
        header=None,
        names=list(range(len(layout.names))),
        index_col=False,
        skiprows=layout.first_row,
        comment="#" if layout.comments else None,
        skipinitialspace=True,
        low_memory=False,
    )
    if frame.empty:
        raise InputError("no rows below the header")
    return [frame[number] for number in frame.columns]


def _leaf(name: str, column: Any) -> Leaf | None:
    """A column as an array; None for a blank one."""
    if column.isna().all():
        return None
    array = column.to_numpy()
    if array.dtype.kind in "fiub":
        return Leaf.of(array)
    values = column.fillna("").astype(str).str.strip().tolist()
    first = next(text for text in values if text)
    width = _width(first)
    if width:
        return Leaf.lazy((len(values), width), np.dtype(float), lambda: _matrix(name, values, width))
    return Leaf.lazy((len(values),), np.dtype("U1"), lambda: texts(values))


def _width(text: str) -> int:
    """How many numbers are written as a list in a cell; 0 for other text, in brackets or not."""
    if text[0] not in "[(" or text[-1] not in ")]":
        return 0
    try:
        return len(_parse_list(text))
    except ValueError:
        return 0


def _matrix(name: str, values: list[str], width: int) -> np.ndarray:
    """The rows that were written as lists into the cells of a column."""
    rows = np.empty((len(values), width))
    for number, text in enumerate(values):
        try:
            rows[number] = _parse_list(text)
        except ValueError:
            raise InputError(f"{name}: row {number} is {text[:40]!r}, not a list of {width} numbers") from None
    return rows


def _parse_list(text: str) -> list[float]:
    """The numbers of a list that is written as text; a ValueError for anything else."""
    inner = text.strip("[]() \n")
    parts = json.loads(f"[{inner}]") if "," in inner else inner.split()
    try:
        return [float(part) for part in parts]
    except TypeError as error:  # null, or an object of JSON
        raise ValueError(str(error)) from None


FORMAT = Format("text", (".csv", ".tsv", ".txt", ".dat", ".tab"), _read)
