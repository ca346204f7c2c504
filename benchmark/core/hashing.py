"""Stable hashes of plain data: the names of cells and evaluations in the store."""

import hashlib
import json
from pathlib import Path
from typing import Any

AFFECTS_RESULTS = False

LENGTH = 24
"""Hexadecimal digits of a key: 96 bits, so that two results never share one by accident."""


def digest(value: Any) -> str:
    """A short hash of plain data (mappings, lists, strings, numbers); paths count with their last part only.

    Raises:
        TypeError: `value` contains something that is not plain data.

    Example:
        >>> digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
        True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name
    raise TypeError(f"{type(value).__name__} is not plain data")
