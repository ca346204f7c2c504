"""torch's tensors in pickles: records that replace storages and tensors while reading, and the functions allowed."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from calbench.benchmark.core._pickled import Array, Class, Function
from calbench.benchmark.core.errors import InputError

LEGACY_NUMBER = 0x1950A86A20F9469CFC6C
"""What files of torch.save began with before version 1.6."""
_LENGTH = 8
"""Bytes of the number that says how long a storage in such a file is."""
_MAX_DIMENSIONS = 32
_DTYPES = {
    "DoubleStorage": "f8", "FloatStorage": "f4", "HalfStorage": "f2", "BFloat16Storage": "bf", "LongStorage": "i8",
    "IntStorage": "i4", "ShortStorage": "i2", "CharStorage": "i1", "ByteStorage": "u1", "BoolStorage": "?",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StorageType:
    """The type of a storage: a code of NumPy, or ``bf`` for bfloat16."""

    code: str


@dataclass(frozen=True, slots=True)
class Storage:
    """The numbers of a tensor: `read` gives them in one dimension."""

    read: Callable[[], np.ndarray]


@dataclass(slots=True)
class Tensor(Array):
    """A tensor: a view of a storage."""

    storage: Storage | None = None
    offset: int = 0
    strides: tuple[int, ...] = ()

    def set_state(self, state: Any) -> None:
        """A tensor's attributes are of no use to anyone who wants its numbers."""

    def make(self) -> np.ndarray:
        """The tensor as an array."""
        if self.storage is None:
            raise InputError("damaged pickle: a tensor without a storage")
        flat = self.storage.read()
        if math.prod(self.shape) == 0:
            return np.zeros(self.shape, flat.dtype)
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if last >= len(flat):
            raise InputError("damaged pickle: a tensor is larger than its storage")
        steps = tuple(stride * flat.itemsize for stride in self.strides)
        return np.lib.stride_tricks.as_strided(flat[self.offset :], self.shape, steps, writeable=False)


def from_bytes(code: str, raw: bytes) -> np.ndarray:
    """The numbers of a storage, of which bfloat16 becomes float32."""
    if code == "bf":
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, np.dtype(code).newbyteorder("<"))


def _naturals(values: Any) -> tuple[int, ...]:
    sizes = cast("tuple[Any, ...]", values) if isinstance(values, tuple) else None
    if sizes is not None and len(sizes) <= _MAX_DIMENSIONS and all(type(n) is int and n >= 0 for n in sizes):
        return sizes
    raise InputError("damaged pickle: the shape of a tensor is malformed")


def _rebuild(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Tensor:
    if not isinstance(storage, Storage) or len(_naturals((offset, *_naturals(shape)))) != len(_naturals(strides)) + 1:
        raise InputError("damaged pickle: a tensor is malformed")
    return Tensor(shape=shape, storage=storage, offset=offset, strides=strides)


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


class LegacyStorages:
    """The storages of a file that ``torch.save`` wrote before version 1.6, which lie behind its pickles."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.codes: dict[str, str] = {}
        self.places: dict[str, int] = {}

    def storage(self, code: str, name: str) -> Storage:
        """The storage of a name that the content refers to; its numbers can be read after `find`."""
        self.codes[name] = code
        return Storage(lambda: self._numbers(name))

    def find(self, names: Any, place: int) -> None:
        """Find the storages `names` from `place` on.

        Raises:
            InputError: they are not those of the content, or the file ends before them.
        """
        listed = cast("list[Any]", names) if isinstance(names, list) else []
        for name in listed:
            if not isinstance(name, str) or name not in self.codes or name in self.places:
                raise InputError("damaged pickle: the names of its storages are malformed")
            self.places[name] = place
            place += _LENGTH + self._size(name)

    def _size(self, name: str) -> int:
        start = self.places[name]
        count = int.from_bytes(self.data[start : start + _LENGTH], "little")
        size = count * _item_size(self.codes[name])
        if start + _LENGTH + size > len(self.data):
            raise InputError("damaged: a storage lies outside of the file")
        return size

    def _numbers(self, name: str) -> np.ndarray:
        if name not in self.places:
            raise InputError("damaged pickle: a tensor without a storage")
        start = self.places[name] + _LENGTH
        return from_bytes(self.codes[name], self.data[start : start + self._size(name)])


def _item_size(code: str) -> int:
    return 2 if code == "bf" else np.dtype(code).itemsize


def _load_from_bytes(raw: Any) -> Storage:
    """What pickle, rather than torch.save, calls for a storage: a file of torch.save in the middle of the pickle."""
    if not isinstance(raw, bytes):
        raise InputError("damaged pickle: a tensor without a storage")

    def read() -> np.ndarray:
        from calbench.benchmark.core.unpickle import unpickle_legacy

        numbers: object = unpickle_legacy(raw)
        if not isinstance(numbers, np.ndarray) or numbers.ndim != 1:
            raise InputError("damaged pickle: a tensor without a storage")
        return cast("np.ndarray[Any, Any]", numbers)

    return Storage(read)


def _ordered(items: Any = ()) -> dict[Any, Any]:
    pairs = cast("list[Any] | tuple[Any, ...]", items) if isinstance(items, list | tuple) else None
    if pairs is None or not all(_is_pair(one) for one in pairs):
        raise InputError("damaged pickle: a dict is malformed")
    if not all(isinstance(key, str | bytes | int | float) for key, _ in pairs):
        raise InputError("it contains a dict whose keys are neither text nor numbers")
    return dict(pairs)


def _default(*factory: Any) -> dict[Any, Any]:
    """An empty dict in the place of a ``defaultdict``, whose factory is never called."""
    if len(factory) > 1:
        raise InputError("damaged pickle: a defaultdict with items")
    return {}


def _is_pair(value: Any) -> bool:
    parts = cast("list[Any] | tuple[Any, ...]", value) if isinstance(value, list | tuple) else ()
    return len(parts) == 2


ALLOWED_OF_TORCH: dict[tuple[str, str], Any] = {
    **{(package, name): StorageType(code) for name, code in _DTYPES.items() for package in ("torch", "torch.cuda")},
    ("torch._utils", "_rebuild_tensor"): Function(_rebuild),
    ("torch._utils", "_rebuild_tensor_v2"): Function(_rebuild),
    ("torch._utils", "_rebuild_parameter"): Function(_parameter),
    ("torch.storage", "_load_from_bytes"): Function(_load_from_bytes),
    ("collections", "OrderedDict"): Function(_ordered),
    ("collections", "defaultdict"): Function(_default),
    **{(module, name): Class() for module in ("builtins", "__builtin__") for name in ("list", "dict", "int", "float")},
}
