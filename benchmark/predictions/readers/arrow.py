"""Reads Parquet, Feather and Arrow: columns of numbers, nullable numbers, text and lists."""

from collections.abc import Callable
from typing import Any, BinaryIO, cast

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import SMALL, limit, most_bytes, refusal
from calbench.benchmark.predictions.contents import Contents, Leaf, join_path
from calbench.benchmark.predictions.readers._arrow_sizes import expanded_bytes
from calbench.benchmark.predictions.readers._bounds import check_count, texts
from calbench.benchmark.predictions.readers._format import Format

_PARQUET, _ARROW, _FEATHER_1, _STREAM = b"PAR1", b"ARROW1", b"FEA1", b"\xff\xff\xff\xff"


def _read(stream: BinaryIO) -> Contents:

    head = stream.read(6)
    stream.seek(0)
    if head.startswith(_PARQUET):
        schema, rows, column, sizes = _open_parquet(stream)
    else:
        table = _read_arrow(stream, head)
        schema, rows, column, sizes = table.schema, table.num_rows, table.column, {}
    index = {name for name in schema.names if name.startswith("__index_level_")}
    names = [name for name in schema.names if name not in index]
    check_count(len(names))
    leaves: dict[str, Leaf] = {}
    most = most_bytes(stream)
    for name in names:
        if (size := sizes.get(name, 0)) > most:
            leaves[name] = Leaf.unreadable("too large", f"{name}: {refusal(size, most)}", (rows,))
        else:
            leaves |= _leaves(name, schema.field(name).type, rows, lambda name=name: column(name))
    return Contents(leaves, is_table=True)


def _open_parquet(stream: BinaryIO) -> tuple[Any, int, Callable[[str], Any], dict[str, int]]:
    """Schema, rows, how to read a column, and the bytes of each column, as the file declares them.

    Texts are read as dictionaries: a short column of numbers may refer to one long text a million times.
    """
    from pyarrow import parquet

    file = parquet.ParquetFile(stream)
    sizes: dict[str, int] = {}
    paths = set()
    for group in range(file.metadata.num_row_groups):
        for number in range(file.metadata.num_columns):
            chunk = file.metadata.row_group(group).column(number)
            name = chunk.path_in_schema.partition(".")[0]
            sizes[name] = sizes.get(name, 0) + max(8 * chunk.num_values, chunk.total_uncompressed_size)
            if chunk.physical_type == "BYTE_ARRAY":
                paths.add(chunk.path_in_schema)
    stream.seek(0)
    file = parquet.ParquetFile(stream, read_dictionary=sorted(paths))

    def column(name: str) -> Any:
        return file.read(columns=[name]).column(name)

    return file.schema_arrow, file.metadata.num_rows, column, sizes


def _read_arrow(stream: BinaryIO, head: bytes) -> Any:
    """A checked table of a stream, or of a file, which is a stream behind eight bytes."""
    import pyarrow as pa

    if head.startswith(_FEATHER_1):
        from pyarrow import feather

        table = feather.read_table(stream)
    else:
        start, most = 8 if head.startswith(_ARROW) else 0, most_bytes(stream)
        stream.seek(start)
        if (size := expanded_bytes(stream)) > most:
            raise InputError(refusal(size, most))
        stream.seek(start)
        table = pa.ipc.open_stream(stream).read_all()
    table.validate(full=True)  # offsets of a hostile file would be followed out of its buffers
    return table


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
        return _fields(name, type, rows, column)
    return {name: Leaf.unreadable(str(type), f"{name} is of type {type}, neither numbers nor text", (rows,))}


def _numbers(column: Any) -> np.ndarray:
    if column.null_count:
        column = column.cast("float64")
    return np.asarray(column.to_numpy())


def _texts(column: Any) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute

    compute: Any = pyarrow.compute  # its functions are made at import
    longest, most = 0, limit(SMALL)
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        words = chunk.dictionary if isinstance(chunk, pa.DictionaryArray) else chunk
        longest = max(longest, cast("Any", compute).max(cast("Any", compute).binary_length(words)).as_py() or 0)
    if longest * len(column) > most:
        raise InputError(f"a text of {longest:,} bytes: {refusal(4 * longest * len(column), most)}")
    return texts(["" if value is None else value for value in column.to_pylist()])


def _fields(name: str, type: Any, rows: int, column: Any) -> dict[str, Leaf]:
    """The fields of a column of records, each a column."""
    import pyarrow.compute

    compute: Any = pyarrow.compute  # its functions are made at import
    leaves: dict[str, Leaf] = {}
    for number in range(type.num_fields):
        field = type.field(number)
        path = join_path(name, field.name)
        leaves |= _leaves(path, field.type, rows, lambda number=number: compute.struct_field(column(), [number]))
    return leaves


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
    if str(flat.type) == "null":
        return Leaf.unreadable("lists", f"{name} is a column of lists without values", (rows,))
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
