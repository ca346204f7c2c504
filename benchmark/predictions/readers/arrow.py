"""Reads Parquet, Feather and Arrow: columns of numbers, nullable numbers, text and lists."""

from typing import Any, BinaryIO

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import limit
from calbench.benchmark.predictions.contents import Contents, Leaf
from calbench.benchmark.predictions.readers._bounds import SMALL, refusal
from calbench.benchmark.predictions.readers._format import Format
from calbench.benchmark.predictions.readers._nested import flatten

_PARQUET, _ARROW, _FEATHER_1, _STREAM = b"PAR1", b"ARROW1", b"FEA1", b"\xff\xff\xff\xff"


def _read(stream: BinaryIO) -> Contents:
    import pyarrow as pa

    head = stream.read(6)
    stream.seek(0)
    if head.startswith(_PARQUET):
        from pyarrow import parquet

        file = parquet.ParquetFile(stream)
        schema, rows = file.schema_arrow, file.metadata.num_rows

        def column(name: str) -> Any:
            return file.read(columns=[name]).column(name)
    else:
        if head.startswith(_STREAM):
            table = pa.ipc.open_stream(stream).read_all()
        else:
            from pyarrow import feather

            table = feather.read_table(stream)
        schema, rows, column = table.schema, table.num_rows, table.column
    index = {name for name in schema.names if name.startswith("__index_level_")}
    names = [name for name in schema.names if name not in index]
    leaves: dict[str, Leaf] = {}
    for name in names:
        leaves |= _leaves(name, schema.field(name).type, rows, lambda name=name: column(name))
    return Contents(leaves, is_table=True)


def _leaves(name: str, type: Any, rows: int, column: Any) -> dict[str, Leaf]:
    from pyarrow import types

    if types.is_dictionary(type):
        type = type.value_type
    if types.is_floating(type) or types.is_integer(type) or types.is_boolean(type):
        return {name: Leaf.lazy((rows,), np.dtype(type.to_pandas_dtype()), lambda: _numbers(column()))}
    if types.is_decimal(type):
        return {name: Leaf.lazy((rows,), np.dtype(float), lambda: _numbers(column().cast("float64")))}
    if types.is_string(type) or types.is_large_string(type):
        return {name: Leaf.lazy((rows,), np.dtype("U1"), lambda: _texts(column()))}
    if types.is_list(type) or types.is_large_list(type) or types.is_fixed_size_list(type):
        return {name: _lists(name, rows, column)}
    if types.is_struct(type):
        return flatten([{name: value} for value in column().to_pylist()])
    return {name: Leaf.unreadable(str(type), f"{name} is of type {type}, neither numbers nor text", (rows,))}


def _numbers(column: Any) -> np.ndarray:
    if column.null_count:
        column = column.cast("float64")
    return np.asarray(column.to_numpy())


def _texts(column: Any) -> np.ndarray:
    return np.array(["" if value is None else value for value in column.to_pylist()], dtype=str)


def _lists(name: str, rows: int, column: Any) -> Leaf:
    """A column of lists of equal length is a matrix."""
    if 8 * rows > limit(SMALL):
        return Leaf.unreadable("lists", f"{name}: {refusal(8 * rows, limit(SMALL))}", (rows,))
    values = column().combine_chunks()
    lengths = np.unique(np.asarray(values.value_lengths().to_numpy(zero_copy_only=False)))
    flat = values.flatten() if hasattr(values, "flatten") else values.values
    if values.null_count or len(lengths) != 1 or np.isnan(lengths).any():
        return Leaf.unreadable("lists", f"{name} is a column of lists that differ in length", (rows,))
    if str(flat.type).startswith(("list", "large_list", "fixed")):
        return Leaf.unreadable("lists", f"{name} is a column of lists of lists", (rows,))
    if str(flat.type) in ("string", "large_string"):
        return Leaf.lazy((rows, int(lengths[0])), np.dtype("U1"), lambda: _texts(flat).reshape(rows, -1))
    array = np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(rows, -1)
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} is a column of lists of {flat.type}")
    return Leaf.of(array)


FORMAT = Format(
    "Arrow",
    (".parquet", ".pq", ".feather", ".arrow", ".ftr"),
    _read,
    lambda head: head.startswith((_PARQUET, _ARROW, _FEATHER_1)),
)
