"""Memory limits relative to the size of a file, so that a small untrusted file cannot exhaust the memory."""

import gzip
import io
import zipfile
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import VARIABLE, limit
from calbench.benchmark.predictions.contents import Contents, Leaf

SMALL, GROWTH = 1 << 30, 200
"""Bytes that every file may expand to, and how many times its own size; raised by `calbench.benchmark.core.limits`."""
_CHUNK = 1 << 22


def size_of(stream: BinaryIO) -> int:
    """The bytes of a file; its position stays."""
    place = stream.tell()
    size = stream.seek(0, io.SEEK_END)
    stream.seek(place)
    return size


def most_bytes(stream: BinaryIO) -> int:
    """How many bytes the content of a file may take."""
    return limit(max(SMALL, GROWTH * size_of(stream)))


def refusal(amount: int, most: int) -> str:
    """Why something too large is not read, and what to do."""
    return (
        f"it expands to {amount / 1e9:.1f} GB, above the limit of {most / 1e9:.1f} GB for a file of this size (if the "
        f"file is trusted, raise all limits tenfold with {VARIABLE}=10)"
    )


def decompressed(stream: BinaryIO) -> BinaryIO:
    """The content of a gzip file, in memory.

    Raises:
        InputError: it expands beyond `most_bytes`.
    """
    most, parts, total = most_bytes(stream), [], 0
    with gzip.GzipFile(fileobj=stream) as file:
        while part := file.read(_CHUNK):
            total += len(part)
            if total > most:
                raise InputError(refusal(total, most))
            parts.append(part)
    return io.BytesIO(b"".join(parts))


def check_zip(stream: BinaryIO) -> None:
    """Refuse a zip archive whose members expand beyond `most_bytes`; the position of `stream` stays.

    Raises:
        InputError: they do.
    """
    place = stream.tell()
    total, most = sum(member.file_size for member in zipfile.ZipFile(stream).infolist()), most_bytes(stream)
    stream.seek(place)
    if total > most:
        raise InputError(refusal(total, most))


def bound_leaves(contents: Contents, most: int) -> None:
    """Make arrays that together take more than `most` bytes errors where they are asked for, and only there."""
    sizes = {name: _bytes(leaf) for name, leaf in contents.leaves.items()}
    total = sum(sizes.values())
    for name, size in sizes.items():
        if total > most and size > most / len(sizes):
            reason = f"{name}: {refusal(max(size, total) if size <= most else size, most)}"
            contents.leaves[name] = refused(contents.leaves[name], reason)


def refused(leaf: Leaf, reason: str) -> Leaf:
    """An array of known shape and type that is an error where it is asked for."""

    def load() -> np.ndarray:
        raise InputError(reason)

    return replace(leaf, load=load)


def _bytes(leaf: Leaf) -> int:
    count = 1
    for length in leaf.shape:
        count *= int(length)
    try:
        width = np.dtype(leaf.type_name).itemsize
    except TypeError:
        width = 8
    return count * max(width, 1)
