"""Memory limits relative to the size of a file, so that a small untrusted file cannot exhaust the memory."""

import gzip
import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from typing import IO, BinaryIO

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import VARIABLE, check_limit, limit
from calbench.benchmark.predictions.contents import Contents, Leaf

SMALL, GROWTH = 1 << 30, 200
"""Bytes that every file may expand to, and how many times its own size; raised by `calbench.benchmark.core.limits`."""
COMPRESSED_SMALL, COMPRESSED_GROWTH = 100_000_000, 100
"""The same for text and pickles in a gzip file: what is made of them takes many times their bytes."""
_MOST_NAMES = 50_000
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
        InputError: it expands to more than 100 MB, and to more than 100 times its size.
    """
    most = limit(max(COMPRESSED_SMALL, COMPRESSED_GROWTH * size_of(stream)))
    parts, total = [], 0
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


def texts(values: Sequence[str]) -> np.ndarray:
    """Texts as an array, in which each takes as much as the longest.

    Raises:
        InputError: that is more than a file may take.
    """
    total, most = 4 * len(values) * max(map(len, values), default=0), limit(SMALL)
    if total > most:
        raise InputError(f"a text of {max(map(len, values)):,} characters: {refusal(total, most)}")
    return np.array(values, dtype=str)


def check_count(names: int) -> None:
    """Refuse a file with more arrays or columns than predictions have (ImageNet-21k has 21,841 classes).

    Raises:
        InputError: it has.
    """
    check_limit(names, _MOST_NAMES, "arrays or columns")


def check_declared(stream: IO[bytes], needed: int) -> None:
    """Refuse a file that declares more bytes than it has behind the position of `stream`, before they are allocated.

    Raises:
        InputError: it does.
    """
    place = stream.tell()
    left = stream.seek(0, io.SEEK_END) - place
    stream.seek(place)
    if needed > left:
        raise InputError(f"damaged: its array takes {needed:,} bytes, and {max(left, 0):,} are left in the file")


def _bytes(leaf: Leaf) -> int:
    count = 1
    for length in leaf.shape:
        count *= int(length)
    try:
        width = np.dtype(leaf.type_name).itemsize
    except TypeError:
        width = leaf.width
    return count * max(width, 1)
