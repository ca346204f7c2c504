"""Reads HDF5, with the datasets of all groups by path, and MATLAB files of version 7.3."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import SMALL, limit, most_bytes, refusal
from calbench.benchmark.predictions.contents import Contents, Leaf, join_path
from calbench.benchmark.predictions.readers._bounds import check_count, refused, texts
from calbench.benchmark.predictions.readers._format import Format

_PART = 256
"""Texts that are read at once."""
_MAX_DEPTH = 32
"""Levels of groups inside each other."""
_SIGNATURE, _MATLAB = b"\x89HDF\r\n\x1a\n", b"MATLAB 7.3"


def _read(stream: BinaryIO) -> Contents:
    import h5py

    matlab = stream.read(len(_MATLAB)) == _MATLAB
    stream.seek(0)
    file = h5py.File(stream, "r")
    most = most_bytes(stream)
    leaves: dict[str, Leaf] = {}
    for name, item in _datasets(file):
        if not name.startswith("#"):
            leaves.update(_bounded(name, item, matlab, most))
    return Contents(dict(sorted(leaves.items())))


def _datasets(file: Any) -> Iterator[tuple[str, Any]]:
    """The datasets of all groups by path, each once; links to other files and to other places are not followed.

    The library's own walk calls itself for every level, and takes the square of their number in time.
    """
    import h5py

    waiting, seen, count = [("", file, 0)], {_address(file)}, 0
    while waiting:
        path, group, depth = waiting.pop()
        if depth > _MAX_DEPTH:
            raise InputError(f"its groups are nested more than {_MAX_DEPTH} levels deep")
        check_count(count := count + len(group))
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                continue
            item = group[name]
            where = _address(item)
            if where in seen:
                continue
            seen.add(where)
            if isinstance(item, h5py.Group):
                waiting.append((join_path(path, name), item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                yield join_path(path, name), item


def _address(item: Any) -> Any:
    from h5py import h5o  # pyright: ignore[reportAttributeAccessIssue]  # compiled, and without stubs

    return h5o.get_info(item.id).addr


def _bounded(name: str, item: Any, matlab: bool, most: int) -> dict[str, Leaf]:
    """As `_leaves`; an error where a single chunk, which is read whole, is too large."""
    leaves = _leaves(name, item, matlab)
    size = math.prod(item.chunks) * item.dtype.itemsize if item.chunks else 0
    if size <= most:
        return leaves
    reason = f"{name}: a chunk of it: {refusal(size, most)}"
    return {key: refused(leaf, reason) for key, leaf in leaves.items()}


def _leaves(name: str, item: Any, matlab: bool) -> dict[str, Leaf]:
    import h5py

    if item.shape is None:
        return {}
    if item.is_virtual or item.external:
        reason = f"{name} lies in another file (external storage or a virtual dataset), which is not opened"
        return {name: refused(Leaf.lazy(item.shape, item.dtype, lambda: item[()]), reason)}
    if item.dtype.names:
        fields = {field: item.dtype[field] for field in item.dtype.names}
        return {
            f"{name}/{field}": Leaf.lazy(item.shape + dtype.shape, dtype.base, lambda field=field: item[field])
            for field, dtype in fields.items()
        }
    if h5py.check_string_dtype(item.dtype) is not None:
        width = 4 * (h5py.check_string_dtype(item.dtype).length or 2)
        return {name: replace(Leaf.lazy(item.shape, np.dtype("U1"), lambda: _texts(item)), width=width)}
    if item.dtype.kind == "O":
        return {name: Leaf.unreadable("object", f"{name} is neither numbers nor text", item.shape)}
    if matlab:  # its arrays are stored column by column
        return {name: Leaf.lazy(item.shape[::-1], item.dtype, lambda: item[()].T)}
    return {name: Leaf.lazy(item.shape, item.dtype, lambda: item[()])}


def _texts(item: Any) -> np.ndarray:
    """Texts of any length, a part at a time: many may refer to the same long one."""
    text, most = item.asstr("utf-8", "replace"), limit(SMALL)
    if item.shape == ():
        return np.asarray(text[()], dtype=str)
    values: list[str] = []
    total = 0
    for start in range(0, item.shape[0], _PART):
        part = np.asarray(text[start : start + _PART]).ravel().tolist()
        total += sum(map(len, part))
        if total > most:
            raise InputError(refusal(total, most))
        values += part
    return texts(values).reshape(item.shape)


FORMAT = Format("HDF5", (".h5", ".hdf5", ".hdf", ".he5"), _read, lambda head: head.startswith((_SIGNATURE, _MATLAB)))
