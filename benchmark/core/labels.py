"""Converts labels of any type to class numbers, in NumPy."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from calbench.benchmark.core.errors import nearest

_SHOWN = 5


def class_numbers(labels: Any, num_rows: int, num_classes: int, classes: Sequence[str] = ()) -> np.ndarray:
    """`labels` as class numbers (N,) int64.

    Args:
        labels: (N,), (N, 1) or (1, N): whole numbers of any type, truth values, or names of classes; or (N, K) with a
            single 1 in each row.
        num_rows: N.
        num_classes: K.
        classes: the names of the K classes in the order of their columns; labels are then matched to them.

    Raises:
        ValueError: another shape, not whole numbers, a label outside 0..K-1, or a name that is not a class.

    Example:
        >>> class_numbers(["dog", "cat"], 2, 2, ["cat", "dog"])
        array([1, 0])
    """
    array = _vector(np.asarray(labels), num_rows, num_classes)
    if len(classes):
        return _match(array, classes)
    if array.dtype.kind == "O":
        array = _of_objects(array)
    if array.dtype.kind in "SU":
        return _of_text(array, num_classes)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"labels: expected numbers, got {array.dtype} values")
    return _in_range(array, num_classes)


def _vector(array: np.ndarray, num_rows: int, num_classes: int) -> np.ndarray:
    """One label per row: one-hot rows become the number of their column."""
    if array.ndim == 2 and 1 in array.shape and array.size == num_rows:
        array = array.reshape(-1)
    if array.shape == (num_rows,):
        return array
    if array.ndim != 2 or len(array) != num_rows or array.dtype.kind not in "fiubO":
        raise ValueError(f"labels: shape {array.shape} does not match {num_rows} rows of predictions")
    if array.shape[1] != num_classes:
        raise ValueError(
            f"labels: shape {array.shape}: one-hot labels need a column for each of the {num_classes} classes"
        )
    array = array.astype(np.float64)
    ones = (array == 1).sum(axis=1)
    if ((array == 0) | (array == 1)).all():
        if (ones > 1).any():
            row = int((ones > 1).argmax())
            raise ValueError(f"labels: row {row} has {ones[row]} classes; several labels per row are not supported")
        if (ones == 0).any():
            raise ValueError(f"labels: row {int((ones == 0).argmax())} of the one-hot labels has no class")
        return array.argmax(axis=1)
    row = int(((array != 0) & (array != 1)).any(axis=1).argmax())
    raise ValueError(f"labels: row {row} is neither one class nor one-hot; soft labels are not supported")


def _of_objects(array: np.ndarray) -> np.ndarray:
    """Python objects as numbers, or else as text."""
    for row, value in enumerate(array):
        if value is None or (isinstance(value, float) and np.isnan(value)):
            raise ValueError(f"labels: row {row} has no label")
    if all(isinstance(value, str | bytes) for value in array):
        return np.array([value.decode() if isinstance(value, bytes) else value for value in array])
    try:
        return np.array([int(value) if value == int(value) else float(value) for value in array])
    except (TypeError, ValueError, OverflowError):
        raise ValueError("labels: expected whole numbers or names of classes, got a mixture") from None


def _of_text(array: np.ndarray, num_classes: int) -> np.ndarray:
    try:
        numbers = array.astype(np.float64)
    except ValueError:
        names = list(dict.fromkeys(str(name) for name in array[:1000]))
        shown = ", ".join(names[:_SHOWN]) + (" ..." if len(names) > _SHOWN else "")
        raise ValueError(
            f"labels: expected numbers, got names ({shown}): give the names of the classes in the order of the columns"
        ) from None
    return _in_range(numbers, num_classes)


def _in_range(array: np.ndarray, num_classes: int) -> np.ndarray:
    if array.dtype.kind == "f":
        whole = array == np.round(array)
        if not whole.all():
            row = int((~whole).argmax())
            raise ValueError(f"labels: row {row} is {array[row]:g}, not a class number")
    if array.dtype.kind != "b":
        bad = (array < 0) | (array >= num_classes)
        if bad.any():
            row = int(bad.argmax())
            shown = f"{array[row]:g}" if array.dtype.kind == "f" else str(array[row])
            raise ValueError(f"labels: row {row} is {shown}, outside 0..{num_classes - 1}")
    return array.astype(np.int64)


def _match(array: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """The place of every label among the names of the classes."""
    places: Mapping[str, int] = {_name(name): place for place, name in enumerate(classes)}
    if len(places) < len(classes):
        raise ValueError("labels: two classes have the same name")
    numbers = np.empty(len(array), dtype=np.int64)
    for row, value in enumerate(array.tolist()):
        place = places.get(_name(value))
        if place is None:
            known = ", ".join(list(places)[:_SHOWN]) + (" ..." if len(places) > _SHOWN else "")
            raise ValueError(f"labels: row {row} is {_name(value)!r}, no class{nearest(_name(value), places)}; {known}")
        numbers[row] = place
    return numbers


def _name(value: Any) -> str:
    """A label as text: whole numbers without a decimal point."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()
