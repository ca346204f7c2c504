"""The contents of a file: named arrays that are read only when they are needed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from calbench.benchmark.core.errors import InputError

NUMERIC_KINDS = "fiub"


@dataclass(frozen=True)
class Leaf:
    """One array of a file.

    Attributes:
        shape: its shape.
        kind: the kind of its values as NumPy codes it: ``f``, ``i``, ``u``, ``b`` for numbers, ``U`` for text,
            ``O`` for anything else.
        type_name: its type for people: ``float32``, ``text``.
        load: reads it; raises an `InputError` where that cannot be done.
        width: the bytes of a value, where its type does not say it.
    """

    shape: tuple[int, ...]
    kind: str
    type_name: str
    load: Callable[[], np.ndarray]
    width: int = 8

    @classmethod
    def of(cls, array: np.ndarray) -> "Leaf":
        """An array that has been read already."""
        return cls.lazy(array.shape, array.dtype, lambda: array)

    @staticmethod
    def _text(array: np.ndarray) -> np.ndarray:
        """Byte strings as text."""
        return np.char.decode(array, "utf-8", "replace") if array.dtype.kind == "S" else array

    @classmethod
    def lazy(cls, shape: tuple[int, ...], dtype: np.dtype, load: Callable[[], np.ndarray]) -> "Leaf":
        """An array of known shape and type."""
        if dtype.kind in "SUT":
            return cls(tuple(shape), "U", "text", lambda: cls._text(load()))
        return cls(tuple(shape), dtype.kind, str(dtype.newbyteorder("=")), load)

    @classmethod
    def unreadable(cls, what: str, reason: str, shape: tuple[int, ...] = ()) -> "Leaf":
        """An entry that is not an array of numbers or text: an error only if it is used."""

        def load() -> np.ndarray:
            raise InputError(reason)

        return cls(shape, "O", what, load)

    @property
    def is_numeric(self) -> bool:
        """Whether it contains numbers or booleans."""
        return self.kind in NUMERIC_KINDS

    @property
    def is_text(self) -> bool:
        """Whether it contains text."""
        return self.kind == "U"

    @property
    def is_matrix(self) -> bool:
        """Whether it contains numbers in rows and at least two columns."""
        return self.is_numeric and len(self.shape) == 2 and self.shape[1] > 1

    @property
    def is_vector(self) -> bool:
        """Whether it is one value per row: (N,) or (N, 1)."""
        return len(self.shape) == 1 or (len(self.shape) == 2 and self.shape[1] == 1)

    def __str__(self) -> str:
        return f"{self.type_name} {' x '.join(map(str, self.shape)) or 'single value'}"


@dataclass
class Contents:
    """The arrays of a file by name, and what was noticed when it was read.

    Attributes:
        leaves: arrays by name; those of groups and nested containers by path, such as ``dataset/model/labels_cal``; the
            only array of a file without names has the name ``""``.
        is_table: whether the arrays are columns of a table.
        header: whether a table's columns have names.
        notes: what a user should know of how the file was read.
        format: what kind of file it is.
    """

    leaves: dict[str, Leaf] = field(default_factory=dict)
    is_table: bool = False
    header: bool = True
    notes: list[str] = field(default_factory=list)
    format: str = ""


_MANY = 12


def listing(leaves: Iterable[tuple[str, Leaf]]) -> str:
    """The names of arrays with their shapes, in one line; long lists are cut."""
    shown = [f"{name or 'one array'} ({leaf})" for name, leaf in leaves]
    more = f" and {len(shown) - _MANY} more" if len(shown) > _MANY else ""
    return (", ".join(shown[:_MANY]) + more) or "nothing"


def join_path(*parts: Any) -> str:
    """The path of a value inside of containers."""
    return "/".join(str(part) for part in parts if str(part))
