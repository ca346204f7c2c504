"""Reads MATLAB's .mat files up to version 7; structures are read by path."""

import math
import struct
import zlib
from typing import Any, BinaryIO, cast

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.contents import Contents
from calbench.benchmark.predictions.readers._bounds import most_bytes, refusal
from calbench.benchmark.predictions.readers._format import Format
from calbench.benchmark.predictions.readers._nested import flatten

_HEADER, _COMPRESSED, _CHUNK = 128, 15, 1 << 22


def _read(stream: BinaryIO) -> Contents:
    from scipy.io import loadmat, whosmat

    most = most_bytes(stream)
    _check_expansion(stream.read(), most)
    stream.seek(0)
    total = sum(8 * math.prod(map(int, shape)) for _, shape, _ in whosmat(cast("Any", stream)))
    if total > most:
        raise InputError(refusal(total, most))
    stream.seek(0)
    variables = loadmat(cast("Any", stream), simplify_cells=True)
    return Contents(flatten({name: value for name, value in variables.items() if not name.startswith("__")}))


def _check_expansion(data: bytes, most: int) -> None:
    """Refuse a file whose compressed elements expand beyond `most`: what is inside of a structure has no size outside.

    Raises:
        InputError: they do.
    """
    order = "<" if data[126:128] == b"IM" else ">"
    place, total = _HEADER, 0
    while place + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, place)
        if kind == _COMPRESSED:
            reader, rest = zlib.decompressobj(), data[place + 8 : place + 8 + size]
            while rest and not reader.eof:
                total += len(reader.decompress(rest, _CHUNK))
                rest = reader.unconsumed_tail
                if total > most:
                    raise InputError(refusal(total, most))
        place += 8 + size


FORMAT = Format("MATLAB", (".mat",), _read, lambda head: head.startswith(b"MATLAB 5.0"))
