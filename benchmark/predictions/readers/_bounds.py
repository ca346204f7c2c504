"""Memory limits relative to the size of a file, so that a small untrusted file cannot exhaust the memory."""

import gzip
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import BinaryIO

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import SMALL, check_limit, limit, refusal, size_of
from calbench.benchmark.predictions.contents import Contents, Leaf

COMPRESSED_SMALL, COMPRESSED_GROWTH = 100_000_000, 100
"""As `SMALL` and `GROWTH` of the limits, for a gzip file: what is made of text takes many times its bytes."""
_MOST_NAMES = 50_000
_CHUNK = 1 << 22


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


def _bytes(leaf: Leaf) -> int:
    count = 1
    for length in leaf.shape:
        count *= int(length)
    try:
        width = np.dtype(leaf.type_name).itemsize
    except TypeError:
        width = leaf.width
    return count * max(width, 1)
