"""Bounds on what a file may ask for, so that a small hostile file cannot take all memory or time."""

import contextlib
import io
import os
import zipfile
from collections.abc import Generator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import IO, BinaryIO

from calbench.benchmark.core.errors import InputError

AFFECTS_RESULTS = False
VARIABLE = "CALBENCH_LIMITS"
"""The environment variable that multiplies every bound, for files that are trusted: ``CALBENCH_LIMITS=10``."""
SMALL, GROWTH = 1 << 30, 200
"""Bytes that the content of every file may take, and how many times the file's own size."""
OPERATIONS = 2_000_000
"""Operations of its pickles that every file may ask for; a larger file as many as it has bytes."""


def limit(bound: int) -> int:
    """`bound` times the factor of `VARIABLE`.

    Raises:
        InputError: the variable is no positive number.
    """
    text = os.environ.get(VARIABLE, "1")
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1e12:
        raise InputError(f"{VARIABLE}={text!r}: expected a positive number, the factor by which all limits are raised")
    return int(bound * factor)


def check_limit(amount: int, bound: int, what: str) -> None:
    """Raise an `InputError` where `amount` exceeds `bound` times the factor of `VARIABLE`.

    Args:
        amount: how much the file asks for.
        bound: the bound without the factor.
        what: the thing counted, such as ``"pixels"``.
    """
    most = limit(bound)
    if amount > most:
        raise InputError(
            f"{amount:,} {what} exceed the limit of {most:,} (if the file is trusted, raise all limits tenfold with "
            f"{VARIABLE}=10)"
        )


@dataclass(slots=True)
class FileBudget:
    """What the content of one file may take: memory in proportion to `size`, and `operations` of its pickles."""

    size: int
    operations: int

    @property
    def most_bytes(self) -> int:
        """How many bytes the content may take."""
        return limit(max(SMALL, GROWTH * self.size))


_file: ContextVar[FileBudget | None] = ContextVar("file", default=None)


@contextlib.contextmanager
def file_of(size: int) -> Generator[None]:
    """What is read inside comes from one file of `size` bytes, however much of it was decompressed on the way."""
    token = _file.set(_budget(size))
    try:
        yield
    finally:
        _file.reset(token)


def file_budget(size: int) -> FileBudget:
    """What the file that is being read may take (see `file_of`); otherwise what a file of `size` bytes may."""
    return _file.get() or _budget(size)


def _budget(size: int) -> FileBudget:
    return FileBudget(size, max(limit(OPERATIONS), size))


def size_of(stream: IO[bytes]) -> int:
    """The bytes of a file; its position stays."""
    place = stream.tell()
    size = stream.seek(0, io.SEEK_END)
    stream.seek(place)
    return size


def most_bytes(stream: IO[bytes]) -> int:
    """How many bytes the content of a file may take, or of the file that `stream` was decompressed from."""
    return file_budget(size_of(stream)).most_bytes


def refusal(amount: int, most: int) -> str:
    """Why something too large is not read, and what to do."""
    return (
        f"it expands to {amount / 1e9:.1f} GB, above the limit of {most / 1e9:.1f} GB for a file of this size (if the "
        f"file is trusted, raise all limits tenfold with {VARIABLE}=10)"
    )


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


def check_declared(stream: IO[bytes], needed: int) -> None:
    """Refuse a file that declares more bytes than it has behind the position of `stream`, before they are allocated.

    Raises:
        InputError: it does.
    """
    left = size_of(stream) - stream.tell()
    if needed > left:
        raise InputError(f"damaged: its array takes {needed:,} bytes, and {max(left, 0):,} are left in the file")
