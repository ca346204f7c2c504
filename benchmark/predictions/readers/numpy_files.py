"""Reads NumPy's .npy and .npz; pickled objects in them are read without executing code."""

import math
import zipfile
from typing import IO, BinaryIO

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import check_declared, check_zip
from calbench.benchmark.core.sparse import dense_of_compressed, dense_of_coordinates
from calbench.benchmark.core.unpickle import unpickle
from calbench.benchmark.predictions.contents import Contents, Leaf
from calbench.benchmark.predictions.readers._bounds import check_count
from calbench.benchmark.predictions.readers._format import Format
from calbench.benchmark.predictions.readers._nested import flatten

_NPY, _ZIP = b"\x93NUMPY", b"PK\x03\x04"


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _read_npy(stream: BinaryIO) -> dict[str, Leaf]:
    shape, dtype = _header(stream)
    if dtype.hasobject:
        value = unpickle(stream.read())
        while isinstance(value, list) and len(value) == 1 and shape == ():
            [value] = value
        return flatten(value)
    check_declared(stream, math.prod(shape) * dtype.itemsize)
    stream.seek(0)
    return flatten(np.load(stream, allow_pickle=False))


def _read_npz(stream: BinaryIO) -> dict[str, Leaf]:
    check_zip(stream)
    archive = zipfile.ZipFile(stream)
    check_count(len(archive.namelist()))
    leaves: dict[str, Leaf] = {}
    for member in archive.namelist():
        if not member.endswith(".npy"):
            continue
        name = member.removesuffix(".npy")
        with archive.open(member) as part:
            shape, dtype = _header(part)
        if dtype.names or dtype.hasobject:
            leaves |= _objects(archive, member, shape)
        else:
            leaves[name] = Leaf.lazy(shape, dtype, lambda member=member: _load_member(archive, member))
    return _of_scipy(leaves)


def _objects(archive: zipfile.ZipFile, member: str, shape: tuple[int, ...]) -> dict[str, Leaf]:
    """The arrays in a member of records or objects; one that cannot be read is an error only if it is used."""
    name = member.removesuffix(".npy")
    try:
        with archive.open(member) as part:
            inner = _read_npy_member(part)
    except InputError as error:
        return {name: Leaf.unreadable("object", f"{name}: {error}", shape)}
    return {f"{name}/{key}" if key else name: leaf for key, leaf in inner.items()}


def _of_scipy(leaves: dict[str, Leaf]) -> dict[str, Leaf]:
    """A matrix that ``scipy.sparse.save_npz`` wrote, as a dense one."""
    compressed, coordinates = {"indptr", "indices"}, {"row", "col"}
    if not {"format", "shape", "data"} <= leaves.keys() or leaves["shape"].shape != (2,):
        return leaves
    if not (compressed <= leaves.keys() or coordinates <= leaves.keys()):
        return leaves
    shape = tuple(int(size) for size in leaves["shape"].load())

    def load() -> np.ndarray:
        values = leaves["data"].load()
        if coordinates <= leaves.keys():
            places = np.stack([leaves["row"].load(), leaves["col"].load()])
            return dense_of_coordinates(shape, places, values)
        by_row = "csr" in str(leaves["format"].load())
        return dense_of_compressed(shape, leaves["indptr"].load(), leaves["indices"].load(), values, by_row=by_row)

    return {"": Leaf.lazy(shape, np.dtype(leaves["data"].type_name), load)}


def _read_npy_member(part: IO[bytes]) -> dict[str, Leaf]:
    import io

    return _read_npy(io.BytesIO(part.read()))


def _load_member(archive: zipfile.ZipFile, member: str) -> np.ndarray:
    with archive.open(member) as part:
        [leaf] = _read_npy_member(part).values()
    return leaf.load()


def _read(stream: BinaryIO) -> Contents:
    zipped = stream.read(len(_ZIP)) == _ZIP
    stream.seek(0)
    return Contents(_read_npz(stream) if zipped else _read_npy(stream))


def _is_npz(head: bytes) -> bool:
    """Whether a zip archive starts with an array: torch's files are zip archives too."""
    length = int.from_bytes(head[26:28], "little")
    return head.startswith(_ZIP) and head[30 : 30 + length].endswith(b".npy")


FORMAT = Format("NumPy", (".npy", ".npz"), _read, lambda head: head.startswith(_NPY) or _is_npz(head))
