"""Reads CIFAR's pickles without executing code from them."""

from pathlib import Path
from typing import Any

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.unpickle import unpickle


def load_arrays(path: Path) -> dict[str, Any]:
    """Read a pickled dict of arrays, numbers, strings and lists, such as Python 2 wrote CIFAR's.

    Raises:
        InputError: the file is damaged, is no dict, or asks for anything else.
    """
    try:
        found = unpickle(path.read_bytes())
    except (OSError, InputError) as error:
        raise InputError(f"{path.name}: cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path.name}: expected a dict, found {type(found).__name__}")
    return found
