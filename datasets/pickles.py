"""CIFAR's pickles, read without the power of pickle: NumPy arrays and plain values, and nothing that runs code."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ..benchmark.errors import InputError

_ARRAY = {
    "_reconstruct": np.empty(0).__reduce__()[0],
    "ndarray": np.ndarray,
    "dtype": np.dtype,
}
_MODULES = {"numpy", "numpy.core.multiarray", "numpy._core.multiarray"}


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in _MODULES and name in _ARRAY:
            return _ARRAY[name]
        raise InputError(f"it asks for {module}.{name}, and only NumPy arrays are allowed")


def load_arrays(path: Path) -> dict[str, Any]:
    """Read a pickled dict of arrays, numbers, strings and lists of protocol 4 or lower, as Python 2 wrote CIFAR's.

    Raises:
        InputError: the file is damaged, is no dict, or asks for anything else.
    """
    try:
        with open(path, "rb") as file:
            found = _ArraysOnly(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle can fail in any way
        raise InputError(f"{path.name}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path.name}: expected a dict, found {type(found).__name__}")
    return found
