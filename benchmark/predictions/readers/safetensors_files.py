"""Reads safetensors files: a header in JSON, then the bytes of the tensors."""

import json
import math
from typing import Any, BinaryIO

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.contents import Contents, Leaf
from calbench.benchmark.predictions.readers._bounds import check_count
from calbench.benchmark.predictions.readers._format import Format

_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip

_MOST_DIMENSIONS = 64
"""As in NumPy."""


def _read(stream: BinaryIO) -> Contents:
    size = stream.seek(0, 2)
    stream.seek(0)
    length = int.from_bytes(stream.read(8), "little")
    if length > size - 8:
        raise InputError("damaged: its header is longer than the file")
    header = json.loads(stream.read(length))
    names = [name for name in header if name != "__metadata__"]
    check_count(len(names))
    return Contents({name: _leaf(name, header[name], stream, 8 + length, size) for name in names})


def _leaf(name: str, record: dict[str, Any], stream: BinaryIO, offset: int, size: int) -> Leaf:
    if len(record["shape"]) > _MOST_DIMENSIONS:
        raise InputError(f"damaged: {name} has {len(record['shape'])} dimensions")
    shape = tuple(int(n) for n in record["shape"])
    begin, end = record["data_offsets"]
    code = _TYPES.get(record["dtype"])
    if code is None:
        return Leaf.unreadable(record["dtype"], f"{name} is of type {record['dtype']}, which is not read", shape)
    dtype = np.dtype(code)
    if min(shape, default=0) < 0 or not 0 <= begin <= end <= size - offset:
        raise InputError(f"damaged: {name} lies outside of the file")
    if end - begin != math.prod(shape) * dtype.itemsize:
        raise InputError(f"damaged: the size of {name} does not match its shape")

    def load() -> np.ndarray:
        stream.seek(offset + begin)
        array = np.frombuffer(stream.read(end - begin), dtype).reshape(shape)
        return (array.astype(np.uint32) << 16).view(np.float32) if record["dtype"] == "BF16" else array

    return Leaf.lazy(shape, np.dtype(np.float32) if record["dtype"] == "BF16" else dtype, load)


def _matches(head: bytes) -> bool:
    return len(head) > 9 and head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 100_000_000


FORMAT = Format("safetensors", (".safetensors",), _read, _matches)
