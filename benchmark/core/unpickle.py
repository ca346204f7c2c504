"""Reading pickles without their power: NumPy arrays, containers and plain values, and nothing that runs code."""

import io
import pickle
from typing import Any

import numpy as np

from calbench.benchmark.core.errors import InputError


def _latin1(text: Any, encoding: Any) -> bytes:
    """What protocols 0 to 2 call for the bytes of an array."""
    if not isinstance(text, str) or encoding != "latin1":
        raise InputError("it asks for a codec, and only NumPy arrays are allowed")
    return text.encode("latin1")


_RECONSTRUCT = np.empty(0).__reduce__()[0]
_FROM_BUFFER = np.empty(1).__reduce_ex__(5)[0]
_ALLOWED = {
    ("_codecs", "encode"): _latin1,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    # NumPy 2 renamed numpy.core, and files of both spellings are about.
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _RECONSTRUCT for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _FROM_BUFFER for core in ("core", "_core")},
}
_SCALARS = {(f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")}


class _ArraysOnly(pickle.Unpickler):
    """An unpickler that calls what makes NumPy arrays, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _SCALARS:
            raise InputError("it holds single NumPy numbers, in a list perhaps: labels and the like must be an array")
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise InputError(f"it asks for {module}.{name}, and only NumPy arrays are allowed") from None


def unpickle(data: bytes) -> Any:
    """Unpickle arrays, tuples, lists, dicts and plain values; strings of Python 2 are read as Latin-1.

    Raises:
        InputError: the data ask for anything else, or are damaged.
    """
    try:
        return _ArraysOnly(io.BytesIO(data), encoding="latin1").load()
    except InputError:
        raise
    except Exception as error:  # a damaged pickle can fail in any way
        raise InputError(f"damaged pickle: {error}") from None
