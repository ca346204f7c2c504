"""NumPy's arrays and dtypes in pickles: records that replace them while reading, and the functions that are allowed."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from calbench.benchmark.core.errors import InputError

_SPEC = re.compile(r"[biufc](?:1|2|4|8|12|16)|[SU][1-9]\d{0,8}|O[48]?")
_MAX_DIMENSIONS = 32


@dataclass(frozen=True, slots=True)
class Function:
    """What a pickle may call: `make` is a function of this module."""

    make: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Class:
    """`numpy.ndarray` as an argument; it cannot be called."""


@dataclass(slots=True)
class Type:
    """A dtype: ``f4``, ``U7``, ``O``; `order` is the byte order."""

    spec: str
    order: str = "="

    def set_state(self, state: Any) -> None:
        """Take the byte order; fields and sub-arrays are refused, and size and flags follow from `spec`."""
        parts = cast("tuple[Any, ...]", state) if isinstance(state, tuple) else ()
        if len(parts) < 5 or parts[1] not in ("<", ">", "=", "|") or any(part is not None for part in parts[2:5]):
            raise InputError("it contains an array of records, and only arrays of plain numbers and text are read")
        self.order = parts[1]

    @property
    def is_object(self) -> bool:
        """Whether it is the dtype of Python objects."""
        return self.spec.startswith("O")

    def dtype(self) -> np.dtype:
        """The dtype of NumPy, never one of objects."""
        if self.is_object:
            raise InputError("it contains an object where a number belongs")
        return np.dtype(self.order.replace("|", "=") + self.spec)


@dataclass(slots=True)
class Array:
    """An array: of bytes, or of the items of a list where its dtype is that of objects."""

    shape: tuple[int, ...] = ()
    type: Type | None = None
    fortran: bool = False
    raw: Any = None

    def set_state(self, state: Any) -> None:
        """Take shape, dtype, order and content: ``(version, shape, dtype, is_fortran, content)``."""
        parts = cast("tuple[Any, ...]", state) if isinstance(state, tuple) else ()
        if len(parts) not in (4, 5):
            raise InputError("damaged pickle: the state of an array is malformed")
        self._take(*parts[-4:])

    def _take(self, shape: Any, type: Any, fortran: Any, raw: Any) -> None:
        self.shape, self.type, self.fortran = _shape(shape), _type(type), bool(fortran)
        self.raw = raw.encode("latin1") if isinstance(raw, str) else raw

    def make(self) -> Any:
        """The array, or nested lists where its dtype is that of objects."""
        if self.type is None:
            raise InputError("damaged pickle: an array without content")
        count = math.prod(self.shape)
        if self.type.is_object:
            raw = self.raw
            items = cast("list[Any]", raw) if isinstance(raw, list) else None
            if items is None or len(items) != count:
                raise InputError("damaged pickle: the items of an array do not match its shape")
            return _nested(items, self.shape)
        dtype = self.type.dtype()
        if not isinstance(self.raw, bytes | bytearray) or len(self.raw) != count * dtype.itemsize:
            raise InputError("damaged pickle: the bytes of an array do not match its shape")
        array = np.frombuffer(bytearray(self.raw), dtype) if count else np.zeros(0, dtype)
        return array.reshape(self.shape, order="F" if self.fortran else "C")


def _shape(value: Any) -> tuple[int, ...]:
    sizes = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else None
    if sizes is not None and len(sizes) <= _MAX_DIMENSIONS and all(type(n) is int and n >= 0 for n in sizes):
        return sizes
    raise InputError("damaged pickle: an array's shape is malformed")


def _type(value: Any) -> Type:
    if isinstance(value, Type):
        return value
    raise InputError("damaged pickle: an array without a dtype")


def _nested(items: list[Any], shape: tuple[int, ...]) -> list[Any]:
    for size in reversed(shape[1:]):
        if size == 0:
            return []
        items = [items[i : i + size] for i in range(0, len(items), size)]
    return items


def _make_type(spec: Any, *_: Any) -> Type:
    if isinstance(spec, str) and _SPEC.fullmatch(spec):
        return Type(spec)
    raise InputError(f"it contains an array of dtype {str(spec)[:40]!r}, and only numbers and text are read")


def _reconstruct(base: Any, *_: Any) -> Array:
    if not isinstance(base, Class):
        raise InputError("damaged pickle: an array of an unknown class")
    return Array()


def _from_buffer(raw: Any, type: Any, shape: Any, order: Any, *_: Any) -> Array:
    if order not in ("C", "F"):
        raise InputError("damaged pickle: an array's order is malformed")
    array = Array()
    array.set_state((shape, type, order == "F", raw))
    return array


def _scalar(type: Any, raw: Any = b"") -> Any:
    array = Array()
    array.set_state(((), type, False, raw))
    return array.make().item()


def _latin1(text: Any, encoding: Any) -> bytes:
    """What protocols 0 to 2 call for the bytes of an array."""
    if not isinstance(text, str) or encoding != "latin1":
        raise InputError("it asks for a codec, and only NumPy arrays are allowed")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """What protocols 0 to 2 call for the bytes of an empty array."""
    return b""


_CORES = ("core", "_core")  # NumPy 2 renamed numpy.core, and files of both names exist
ALLOWED: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): Function(_latin1),
    ("__builtin__", "bytes"): Function(_no_bytes),
    ("builtins", "bytes"): Function(_no_bytes),
    ("numpy", "ndarray"): Class(),
    ("numpy", "dtype"): Function(_make_type),
    **{(f"numpy.{core}.multiarray", "_reconstruct"): Function(_reconstruct) for core in _CORES},
    **{(f"numpy.{core}.multiarray", "scalar"): Function(_scalar) for core in _CORES},
    **{(f"numpy.{core}.numeric", "_frombuffer"): Function(_from_buffer) for core in _CORES},
}
