"""Masked arrays of NumPy and sparse tensors of torch in pickles: records that become plain arrays."""

import math
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from calbench.benchmark.core._pickled import Array, Class, Function
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.sparse import dense_of_compressed, dense_of_coordinates

_COORDINATES, _ROWS, _COLUMNS = "torch.sparse_coo", "torch.sparse_csr", "torch.sparse_csc"


@dataclass(slots=True)
class Masked(Array):
    """A masked array of NumPy, whose masked values become NaN, or empty text."""

    mask: Any = None

    def set_state(self, state: Any) -> None:
        """Take ``(version, shape, dtype, is_fortran, content, mask, fill value)``."""
        parts = cast("tuple[Any, ...]", state) if isinstance(state, tuple) else ()
        if len(parts) != 7:
            raise InputError("damaged pickle: the state of a masked array is malformed")
        self._take(*parts[1:5])
        self.mask = parts[5].encode("latin1") if isinstance(parts[5], str) else parts[5]

    def make(self) -> Any:
        """The array without a mask."""
        if self.type is not None and self.type.is_object:
            raise InputError("it contains a masked array of objects, and only numbers and text are read")
        array = cast("np.ndarray[Any, Any]", Array.make(self))
        if not isinstance(self.mask, bytes | bytearray) or len(self.mask) != array.size:
            raise InputError("damaged pickle: the mask of an array does not match its shape")
        flags = np.frombuffer(bytes(self.mask), np.uint8) != 0
        hidden = flags.reshape(array.shape, order="F" if self.fortran else "C")
        if not hidden.any():
            return array
        if array.dtype.kind in "SU":
            return np.where(hidden, np.zeros((), array.dtype), array)
        return np.where(hidden, np.nan, array)


@dataclass(slots=True)
class Sparse(Array):
    """A sparse tensor of torch, which becomes a dense array."""

    layout: str = ""
    parts: tuple[Array, ...] = ()

    def set_state(self, state: Any) -> None:
        """A tensor's attributes are of no use to anyone who wants its numbers."""

    def check_size(self, budget: int) -> None:
        """Refuse a tensor whose dense form takes more than `budget` bytes, before that is allocated.

        Raises:
            InputError: it does.
        """
        size = math.prod(self.shape) * 8
        if size > budget:
            raise InputError(
                f"it contains a sparse tensor of shape {self.shape}, which takes {size / 1e6:,.0f} MB when dense, and "
                f"{max(budget, 0) / 1e6:,.0f} MB are allowed for a file of this size; save it with .to_dense() (see "
                "CALBENCH_LIMITS)"
            )

    def make(self) -> np.ndarray:
        """The tensor as a dense array."""
        arrays = [cast("np.ndarray[Any, Any]", part.make()) for part in self.parts]
        if self.layout == _COORDINATES:
            return dense_of_coordinates(self.shape, arrays[0], arrays[1])
        return dense_of_compressed(self.shape, *arrays, by_row=self.layout == _ROWS)


def _masked(subtype: Any, base: Any, *_: Any) -> Masked:
    if not isinstance(subtype, Class) or not isinstance(base, Class):
        raise InputError("damaged pickle: a masked array of an unknown class")
    return Masked()


def _layout(name: Any) -> str:
    if name not in (_COORDINATES, _ROWS, _COLUMNS):
        raise InputError(f"it contains a tensor of layout {str(name)[:40]}; save it with .to_dense()")
    return str(name)


def _size(sizes: Any) -> tuple[int, ...]:
    values = cast("list[Any] | tuple[Any, ...]", sizes) if isinstance(sizes, list | tuple) else None
    if values is None or not all(type(size) is int and size >= 0 for size in values):
        raise InputError("damaged pickle: a shape is malformed")
    return tuple(values)


def _sparse(layout: Any, content: Any) -> Sparse:
    count = 2 if layout == _COORDINATES else 3
    values = cast("tuple[Any, ...]", content) if isinstance(content, tuple) else ()
    parts, rest = values[:count], values[count:]
    if layout not in (_COORDINATES, _ROWS, _COLUMNS) or not rest or not all(type(p) is not Sparse for p in parts):
        raise InputError("damaged pickle: a sparse tensor is malformed")
    if not all(isinstance(part, Array) for part in parts):
        raise InputError("damaged pickle: a sparse tensor is malformed")
    return Sparse(shape=_size(rest[0]), layout=layout, parts=parts)


def _device(*words: Any) -> str:
    return ":".join(str(word)[:40] for word in words)


_TYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
ALLOWED_OF_SPARSE: dict[tuple[str, str], Any] = {
    ("numpy.ma.core", "_mareconstruct"): Function(_masked),
    ("numpy.ma.core", "MaskedArray"): Class(),
    ("numpy.ma", "MaskedArray"): Class(),
    ("torch._utils", "_rebuild_sparse_tensor"): Function(_sparse),
    ("torch.serialization", "_get_layout"): Function(_layout),
    ("torch", "Size"): Function(_size),
    ("torch", "device"): Function(_device),
    **{("torch", name): f"torch.{name}" for name in _TYPES},
}
