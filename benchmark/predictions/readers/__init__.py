"""Readers of prediction files, one module per format.

Each module declares ``FORMAT``, a `Format`, and imports the library that it needs only when it reads.
"""

import pkgutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import file_of, most_bytes, size_of
from calbench.benchmark.predictions.contents import Contents, Leaf
from calbench.benchmark.predictions.readers._bounds import bound_leaves, decompressed
from calbench.benchmark.predictions.readers._format import Format

_HEAD = 1024
_ADVICE = {
    (".xlsx", ".xls", ".xlsm", ".ods"): "a spreadsheet",
    (".rds", ".rdata", ".rda"): "a file of R's objects",
    (".zip", ".7z", ".rar", ".tar", ".tgz", ".bz2", ".xz"): "an archive",
}
"""Kinds of files that people try, by ending."""


@cache
def formats() -> tuple[Format, ...]:
    """All formats, those that can be recognised by their first bytes first."""
    modules = [import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__) if m.name[0] != "_"]
    return tuple(sorted((module.FORMAT for module in modules), key=lambda one: (one.matches is None, one.name)))


def endings() -> list[str]:
    """The endings of files that can be read."""
    return sorted({ending for one in formats() for ending in one.endings})


@contextmanager
def open_contents(path: Path) -> Iterator[Contents]:
    """Open a file of predictions; its arrays can be read as long as it is open. Nothing in a file is ever run.

    The first bytes decide on the format where they can, the ending otherwise. Files ending in ``.gz`` are decompressed.

    Raises:
        InputError: no such file, a format that is not known, or a damaged file.
    """
    if path.is_dir():
        raise InputError(f"{path.name or path}: a folder; give a file")
    if not path.is_file():
        raise InputError(f"{path.name}: no such file")
    with path.open("rb") as opened, file_of(size_of(opened)):
        name, stream = path.name, opened
        try:
            if _head(stream).startswith(b"\x1f\x8b"):
                stream = decompressed(stream)
                name = name[:-3] if name.lower().endswith(".gz") else name
            kind = _format(name, _head(stream))
            contents = kind.read(stream)
            contents.format = contents.format or kind.name
            bound_leaves(contents, most_bytes(opened))
            contents.leaves = {name: _guarded(name, leaf) for name, leaf in contents.leaves.items()}
        except InputError as error:
            raise InputError(f"{path.name}: {error}") from None
        except Exception as error:  # every library has its own errors for a damaged file
            raise InputError(f"{path.name}: cannot be read: {_one_line(error)}") from None
        yield contents


def _guarded(name: str, leaf: Leaf) -> Leaf:
    """An array that may be damaged where it is read: every library has its own errors for that."""

    def load() -> np.ndarray:
        try:
            return leaf.load()
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{name or 'its array'} cannot be read: {_one_line(error)}") from None

    return replace(leaf, load=load)


def _head(stream: BinaryIO) -> bytes:
    head = stream.read(_HEAD)
    stream.seek(0)
    return head


def _format(name: str, head: bytes) -> Format:
    """The format of a file, by its first bytes or else by its ending."""
    ending = Path(name).suffix.lower()
    known = [one for one in formats() if ending in one.endings]
    if known and not head:
        raise InputError("the file is empty")
    for one in [*known, *formats()]:
        if one.matches is not None and one.matches(head):
            return one
    if known:
        return known[0]
    for endings_of, what in _ADVICE.items():
        if ending in endings_of:
            raise InputError(f"{what}, which is not read; save it as CSV or Parquet")
    raise InputError(f"unknown kind of file; known: {', '.join(endings())}, each also compressed as .gz")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
