"""Reads pickles without executing code: arrays of NumPy, tensors of torch, lists, tuples, dicts and plain values.

A pickle is a program that calls functions and sets the state of objects. Even a short list of allowed functions is not
safe: `numpy.dtype.__setstate__` accepts flags under which bytes of the file are used as object pointers. Here no
function of NumPy is called while the pickle is read. Its arrays and dtypes become records of this module, whose fields
are checked before an array is made from them; dtypes of objects are never made.
"""

# pyright: reportPrivateUsage=false
# The reader of pickles that is written in Python has a private name.
import io
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, cast

from calbench.benchmark.core._pickled import ALLOWED, Array, Function, Type
from calbench.benchmark.core._pickled_sparse import ALLOWED_OF_SPARSE, Sparse
from calbench.benchmark.core._pickled_tensors import (
    ALLOWED_OF_TORCH,
    LEGACY_NUMBER,
    LegacyStorages,
    Storage,
    StorageType,
)  # fmt: skip
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import VARIABLE, FileBudget, file_budget, limit

MAX_DEPTH = 32
"""Levels of lists, tuples and dicts inside each other."""
MAX_GROWTH, SMALL = 20, 1 << 20
"""Numbers and bytes that a pickle may expand to, as a multiple of its size, and the size that is always allowed."""

_OPCODES = [
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE", "NEWFALSE",
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "EMPTY_LIST", "LIST", "EMPTY_DICT", "APPEND", "APPENDS", "GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT",
    "LONG_BINPUT", "MEMOIZE", "GLOBAL", "STACK_GLOBAL",
]  # fmt: skip
Storages = Callable[[str, str], Storage]
_PLAIN_KEYS = (str, bytes, int, float, type(None))  # hashing a deeply nested tuple overflows the interpreter's stack


# The reader in Python and not the one in C: the memo of the latter is an array that one opcode can grow to 32 GB.
class _ArraysOnly(pickle._Unpickler):
    """An unpickler with the opcodes of plain values, which calls the functions of `ALLOWED` and nothing else."""

    if TYPE_CHECKING:  # what the reader has besides its public methods
        stack: list[Any]
        read: Callable[[int], bytes]
        append: Callable[[Any], None]
        pop_mark: Callable[[], list[Any]]

    def __init__(self, stream: io.BytesIO, storages: Storages | None = None, size: int = 0) -> None:
        super().__init__(stream, encoding="latin1")
        self.storages = storages
        self.file = file_budget(size)
        vars(self)["dispatch"] = _Counted(self.file)  # in place of the class's own table
        self.budget = min(limit(MAX_GROWTH * size + SMALL), self.file.most_bytes)

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "pandas":
            raise InputError("it contains an object of pandas, which is not read; save it as Parquet or CSV")
        try:
            return (ALLOWED | ALLOWED_OF_TORCH | ALLOWED_OF_SPARSE)[module, name]
        except KeyError:
            raise InputError(
                f"it asks for {module}.{name}, and only NumPy arrays are allowed; save its arrays as .npz"
            ) from None

    def load_binpersid(self) -> None:
        """A storage in another member of torch's archive, or behind the pickles of an older file."""
        identity = self.stack.pop()
        parts: list[Any] = list(cast("tuple[Any, ...]", identity)) if isinstance(identity, tuple) else []
        if self.storages is None or len(parts) not in (5, 6) or parts[5:] not in ([], [None]):
            self.refuse()
        kind, name = parts[1], parts[2]
        if not isinstance(kind, StorageType) or not isinstance(name, str):
            self.refuse()
        self.stack.append(self.storages(kind.code, name))

    def load_reduce(self) -> None:
        """Call an allowed function with the arguments on the stack."""
        arguments, function = self.stack.pop(), self.stack[-1]
        if not isinstance(function, Function) or type(arguments) is not tuple:
            raise InputError("it calls something, and only NumPy arrays are allowed")
        self.stack[-1] = made = function.make(*arguments)
        if isinstance(made, bytes):
            self.budget -= len(made)
            check_budget(self.budget)

    def load_build(self) -> None:
        """Set the state of an array or a dtype."""
        state, target = self.stack.pop(), self.stack[-1]
        if type(target) is dict:  # what a state_dict has besides its items, its versions, is not needed
            return
        if not isinstance(target, Array | Type):
            raise InputError("it sets the state of an object, and only NumPy arrays are allowed")
        target.set_state(state)

    def load_bytearray8(self) -> None:
        """A bytearray no longer than the file, whatever size it declares."""
        size = int.from_bytes(self.read(8), "little")
        self.append(bytearray(self.read(size) if size <= sys.maxsize else b""))

    def load_setitem(self) -> None:
        """Put the last two values of the stack into the dict below."""
        value, key = self.stack.pop(), self.stack.pop()
        self._set_items(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        """Put the values above the mark into the dict below."""
        items = self.pop_mark()
        self._set_items(self.stack[-1], items)

    def load_dict(self) -> None:
        """A dict of the values above the mark."""
        made: dict[Any, Any] = {}
        self._set_items(made, self.pop_mark())
        self.append(made)

    def _set_items(self, target: Any, items: list[Any]) -> None:
        if type(target) is not dict or len(items) % 2:
            raise InputError("damaged pickle: a dict is malformed")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, _PLAIN_KEYS):
                raise InputError("it contains a dict whose keys are neither text nor numbers")
            target[key] = value

    def refuse(self) -> NoReturn:
        """Any other opcode: sets, classes, persistent identities, buffers outside of the file."""
        raise InputError(
            "it contains an object other than lists, dicts, plain values and NumPy arrays; save its arrays as .npz"
        )


_DISPATCH: dict[int, Any] = {
    **dict.fromkeys(range(256), _ArraysOnly.refuse),
    **{getattr(pickle, name)[0]: pickle._Unpickler.dispatch[getattr(pickle, name)[0]] for name in _OPCODES},
    pickle.REDUCE[0]: _ArraysOnly.load_reduce,
    pickle.BINPERSID[0]: _ArraysOnly.load_binpersid,
    pickle.BUILD[0]: _ArraysOnly.load_build,
    pickle.BYTEARRAY8[0]: _ArraysOnly.load_bytearray8,
    pickle.SETITEM[0]: _ArraysOnly.load_setitem,
    pickle.SETITEMS[0]: _ArraysOnly.load_setitems,
    pickle.DICT[0]: _ArraysOnly.load_dict,
}
_ArraysOnly.dispatch = _DISPATCH


@dataclass(slots=True)
class _Counted:
    """The table of operations, which counts them: a small compressed file can hold millions that do nothing."""

    file: FileBudget

    def __getitem__(self, opcode: int) -> Any:
        self.file.operations -= 1
        if self.file.operations < 0:
            raise InputError(
                "its pickles ask for more operations than a file of this size needs (if the file is trusted, raise all "
                f"limits tenfold with {VARIABLE}=10)"
            )
        return _DISPATCH[opcode]


def check_budget(budget: int) -> None:
    """Raise an `InputError` where a pickle expands beyond its budget."""
    if budget < 0:
        raise InputError(
            f"it refers to the same data again and again: more than {MAX_GROWTH} times its size (see CALBENCH_LIMITS)"
        )


@dataclass
class _Finish:
    """Puts arrays in the place of their records; containers are copied, each once however often it is referred to.

    Attributes:
        budget: bytes of arrays and plain values together.
        plain: what a plain value counts for, so that a file has no more of them than `MAX_GROWTH` times its size.
    """

    budget: int
    plain: int
    done: dict[int, tuple[Any, int]] = field(default_factory=lambda: dict[int, tuple[Any, int]]())
    open: set[int] = field(default_factory=lambda: set[int]())

    def __call__(self, value: Any, depth: int = 0) -> tuple[Any, int]:
        """The finished value and what is in it of the budget, shared parts counted as often as they occur."""
        if value is None or isinstance(value, bool | int | float | str | bytes | bytearray):
            return value, self.plain
        if id(value) in self.done:
            return self.done[id(value)]
        if id(value) in self.open:
            raise InputError("it contains a list or dict that contains itself")
        if depth > MAX_DEPTH:
            raise InputError(f"its lists and dicts are nested more than {MAX_DEPTH} levels deep")
        self.open.add(id(value))
        finished = self._finish(value, depth)
        self.open.discard(id(value))
        self.done[id(value)] = finished
        check_budget(self.budget - finished[1])
        return finished

    def _finish(self, value: Any, depth: int) -> tuple[Any, int]:
        if isinstance(value, Array):
            if isinstance(value, Sparse):
                value.check_size(self.budget)
            made = value.make()
            if isinstance(made, list):
                return self(made, depth + 1)
            self.budget -= made.nbytes
            check_budget(self.budget)
            return made, made.nbytes
        if isinstance(value, dict):
            known = cast("dict[Any, Any]", value)
            parts = [self(part, depth + 1) for part in known.values()]
            made = dict(zip(known, [part for part, _ in parts], strict=True))
            return made, sum(size for _, size in parts) + self.plain
        if isinstance(value, list | tuple):
            listed = cast("list[Any] | tuple[Any, ...]", value)
            parts = [self(part, depth + 1) for part in listed]
            return type(listed)([part for part, _ in parts]), sum(size for _, size in parts) + self.plain
        raise InputError("it contains an object other than arrays, lists, dicts and plain values")


def _finished(reader: _ArraysOnly, content: Any) -> Any:
    most = limit(MAX_GROWTH * reader.file.size + SMALL)
    return _Finish(reader.budget, max(1, reader.budget // most))(content)[0]


def unpickle(data: bytes, storages: Storages | None = None, size: int = 0) -> Any:
    """Unpickle arrays, tuples, lists, dicts and plain values; strings of Python 2 are read as Latin-1.

    Tensors of torch come back as arrays, arrays of Python objects as lists (nested where they have several dimensions).

    Args:
        data: the pickle.
        storages: reads a storage of a type and a name from the archive of `torch.save` that the pickle belongs to.
        size: the bytes of that archive.

    Raises:
        InputError: the pickle asks for anything else, is damaged, expands to more than `MAX_GROWTH` times its size, or
            has more operations than `OPERATIONS` of the limits and its file has bytes.
    """
    try:
        reader = _ArraysOnly(io.BytesIO(data), storages, len(data) + size)
        content = reader.load()
        return _finished(reader, content)
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise InputError(f"damaged pickle: {error}") from None


def unpickle_legacy(data: bytes) -> Any:
    """The content of a file that ``torch.save`` wrote before version 1.6, as `unpickle` gives it.

    Such a file is a row of pickles (a number, a version, facts about the machine, the content, the names of storages),
    and behind them each storage: its length, and its numbers. ``torch.load`` is not used, not even for tensors alone:
    it lets a file of 50 bytes call ``bytearray`` with any size.

    Raises:
        InputError: as of `unpickle`, or a storage that the file does not have.
    """
    stream, table = io.BytesIO(data), LegacyStorages(data)
    try:
        _check_number(stream, len(data))
        for _ in range(2):
            _ArraysOnly(stream, None, len(data)).load()
        reader = _ArraysOnly(stream, table.storage, len(data))
        content = reader.load()
        table.find(_ArraysOnly(stream, None, len(data)).load(), stream.tell())
        if isinstance(content, Storage):
            return content.read()
        return _finished(reader, content)
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise InputError(f"damaged pickle: {error}") from None


def _check_number(stream: io.BytesIO, size: int) -> None:
    try:
        number = _ArraysOnly(stream, None, size).load()
    except Exception:  # the first pickle of a file that is none
        number = None
    if number != LEGACY_NUMBER:
        raise InputError("damaged, or not from torch.save")
