"""Named arrays from files of any of the usual kinds. Nothing in a file is ever run."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.unpickle import unpickle

Arrays = dict[str, np.ndarray]


def read_arrays(path: Path) -> Arrays:
    """Arrays by name; those of HDF5 groups and pickled tuples by path, such as ``dataset/model/labels_cal``.

    Raises:
        InputError: no such file, a kind of file that is not known, or a damaged one.
    """
    if not path.is_file():
        raise InputError(f"{path.name}: no such file")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path.name}: unknown kind of file; known: {', '.join(sorted(_READERS))}")
    try:
        arrays = reader(path)
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None
    except Exception as error:  # every library has its own errors for a damaged file
        raise InputError(f"{path.name}: cannot be read: {error}") from None
    for name, array in arrays.items():
        if array.dtype.kind not in "fiub":
            raise InputError(f"{path.name}: {name or 'its array'} holds {array.dtype}, not numbers")
    return arrays


def _read_npz(path: Path) -> Arrays:
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_npy(path: Path) -> Arrays:
    return {"": np.load(path, allow_pickle=False)}


def _read_safetensors(path: Path) -> Arrays:
    from safetensors.torch import load

    tensors = load(path.read_bytes())
    return {name: (t.float() if t.is_floating_point() and t.itemsize < 4 else t).numpy() for name, t in tensors.items()}


def _read_hdf5(path: Path) -> Arrays:
    import h5py

    found: Arrays = {}

    def keep(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            found[name] = item[()]

    with h5py.File(path, "r") as file:
        file.visititems(keep)
    return found


def _read_pickle(path: Path) -> Arrays:
    """The pairs of Kängsepp's files, ((logits_val, y_val), (logits_test, y_test)), or a dict or pair of arrays."""
    found = unpickle(path.read_bytes())
    if isinstance(found, dict):
        return {str(name): np.asarray(value) for name, value in found.items() if isinstance(value, np.ndarray | list)}
    if isinstance(found, tuple | list) and len(found) == 2 and all(isinstance(part, tuple | list) for part in found):
        return {
            f"{split}/{name}": np.asarray(array)
            for split, pair in zip(("val", "test"), found, strict=True)
            for name, array in zip(("logits", "labels"), _pair(pair), strict=True)
        }
    if isinstance(found, tuple | list):
        return dict(zip(("logits", "labels"), map(np.asarray, _pair(found)), strict=True))
    raise InputError(f"expected ((logits, labels), (logits, labels)), found {type(found).__name__}")


def _pair(value: Any) -> Any:
    if len(value) != 2:
        raise InputError(f"expected a pair (logits, labels), found {len(value)} parts")
    return value


_NUMBERED = re.compile(r"(?P<stem>.*?)[_.-]?(?P<number>\d+)", re.DOTALL)


def _read_table(read: Callable[[Path], pd.DataFrame]) -> Callable[[Path], Arrays]:
    """Columns named alike but for a number at the end (``logit_0``, ``logit_1`` ...) make one matrix, in that order.

    Where the numbers do not run from 0 or 1 on without a gap, the columns stay apart: they cannot be all classes.
    """

    def reader(path: Path) -> Arrays:
        frame = read(path)
        frame.columns = frame.columns.map(str)
        groups: dict[str, list[tuple[int, str]]] = {}
        for column in frame.columns:
            numbered = _NUMBERED.fullmatch(column)
            if numbered is not None:
                groups.setdefault(numbered["stem"], []).append((int(numbered["number"]), column))
        arrays: Arrays = {column: frame[column].to_numpy() for column in frame.columns}
        for stem, group in groups.items():
            numbers, columns = zip(*sorted(group), strict=True)
            if numbers in (tuple(range(len(group))), tuple(range(1, len(group) + 1))):
                arrays = {name: array for name, array in arrays.items() if name not in columns}
                arrays[stem] = frame[list(columns)].to_numpy()
        return arrays

    return reader


_READERS: dict[str, Callable[[Path], Arrays]] = {
    ".npz": _read_npz,
    ".npy": _read_npy,
    ".csv": _read_table(pd.read_csv),
    ".parquet": _read_table(pd.read_parquet),
    ".safetensors": _read_safetensors,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".p": _read_pickle,
    ".pkl": _read_pickle,
    ".pickle": _read_pickle,
}
