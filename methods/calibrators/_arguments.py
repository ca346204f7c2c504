"""Checks and converts the arguments of calibrators: scores, labels of any kind, weights and features."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.metrics.inputs import as_labels, as_logits


def plain(logits: Any) -> Tensor | np.ndarray:
    """`logits` as they are if they are a tensor, else as an array."""
    if hasattr(logits, "toarray"):
        raise TypeError("sparse logits are not supported: pass a dense array, logits.toarray()")
    return logits if isinstance(logits, Tensor) else np.asarray(logits)


def scores_of(logits: Tensor | np.ndarray) -> Tensor:
    """`logits` as a tensor (N, K) in float32 or float64; a single column of scores becomes the logits 0 and score.

    Raises:
        ValueError: another shape, values that are no numbers, or a row that is not finite.
    """
    shape = tuple(logits.shape)
    if len(shape) == 1:
        raise ValueError(
            f"logits: expected two dimensions (rows, classes), got shape {shape}. Reshape your data: scores of two"
            " classes are one column, .reshape(-1, 1)"
        )
    if len(shape) == 2 and shape[1] == 1:
        tensor = isinstance(logits, Tensor)
        logits = (
            torch.cat([torch.zeros_like(cast("Tensor", logits)), cast("Tensor", logits)], 1)
            if tensor
            else np.pad(logits, ((0, 0), (1, 0)))
        )
    if not isinstance(logits, Tensor):
        logits = _numeric(logits, shape)
    tensor = as_logits(logits)
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def _numeric(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """`array` with objects that are numbers as float64, and scikit-learn's words for what cannot be used."""
    if array.dtype.kind == "c":
        raise ValueError("logits: Complex data not supported")
    if len(shape) == 2 and 0 in shape:
        kind = "sample" if shape[0] == 0 else "feature"
        raise ValueError(f"logits: 0 {kind}(s) (shape={shape}) while a minimum of 1 is required.")
    if array.dtype.kind != "O":
        return array
    try:
        return array.astype(np.float64)
    except TypeError as error:
        raise TypeError(f"logits: argument must be numbers: {error}") from None


def labels_of(labels: Any, classes: Any, num_rows: int, num_classes: int) -> tuple[Tensor, np.ndarray]:
    """Labels as column numbers (N,) int64, and the class of each column of the logits (K,).

    Whole numbers in 0..K-1 are columns. Other labels (names, or numbers of which there are exactly K) are matched to
    the columns in sorted order, as scikit-learn does, or in the order of `classes`.

    Args:
        labels: (N,), of numbers, booleans or names.
        classes: the K labels in the order of the columns, or None.
        num_rows: N.
        num_classes: K.

    Raises:
        ValueError: labels that fit no column.
    """
    if labels is None:
        raise ValueError("this calibrator requires y to be passed, but the target y is None")
    if isinstance(labels, Tensor) and classes is None:
        return as_labels(labels, num_rows, num_classes), np.arange(num_classes)
    array = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if classes is not None:
        names = np.asarray(classes)
        if names.shape != (num_classes,) or len(np.unique(names)) != num_classes:
            raise ValueError(f"classes: expected {num_classes} different labels, one per column of the logits")
        return _numbers_of(array, names, num_rows), names
    if array.dtype.kind in "OUST":
        array = np.asarray(array.tolist())
    if array.ndim == 1 and array.dtype.kind in "US":
        return _numbers_of(array, _sorted_names(array, num_classes), num_rows), _sorted_names(array, num_classes)
    if array.ndim == 1 and array.dtype.kind == "f" and (continuous := np.flatnonzero(array != np.round(array))).size:
        row = int(continuous[0])
        raise ValueError(f"labels: row {row} is {array[row]}, not a class number. Unknown label type: continuous")
    if array.ndim == 1 and len(array) and array.dtype.kind in "iuf" and _are_other_numbers(array, num_classes):
        names = np.unique(array)
        return _numbers_of(array, names, num_rows), names
    return as_labels(array, num_rows, num_classes), np.arange(num_classes)


def _are_other_numbers(array: np.ndarray, num_classes: int) -> bool:
    """Whether the labels are K whole numbers, but not 0..K-1: counted from 1, or -1 and 1."""
    if not np.isfinite(array).all() or (array != np.round(array)).any():
        return False
    names = np.unique(array)
    return len(names) == num_classes and (names[0] < 0 or names[-1] >= num_classes)


def _sorted_names(array: np.ndarray, num_classes: int) -> np.ndarray:
    names = np.unique(array)
    if len(names) != num_classes:
        raise ValueError(
            f"labels: {len(names)} names for {num_classes} columns of logits; pass classes=[...], the names in the"
            " order of the columns"
        )
    return names


def _numbers_of(array: np.ndarray, names: np.ndarray, num_rows: int) -> Tensor:
    """The place of every label in `names`."""
    if array.ndim != 1 or len(array) != num_rows:
        raise ValueError(f"labels: shape {array.shape} does not match {num_rows} rows of predictions")
    order = np.argsort(names, kind="stable")
    place = np.searchsorted(names[order], array).clip(max=len(names) - 1)
    wrong = np.flatnonzero(names[order][place] != array)
    if len(wrong):
        raise ValueError(f"labels: row {wrong[0]} is {array[wrong[0]].item()!r}, not one of the {len(names)} classes")
    return torch.from_numpy(order[place])


def weights_of(weights: Any, num_rows: int) -> Tensor:
    """Sample weights as float64 (N,), with a mean of one.

    Raises:
        ValueError: another length, a weight that is negative or not finite, or none above zero.
    """
    tensor = torch.as_tensor(np.asarray(weights) if not isinstance(weights, Tensor) else weights).double()
    if tensor.ndim == 0:
        tensor = tensor.expand(num_rows)
    if tensor.shape != (num_rows,):
        raise ValueError(f"Sample weights must be 1D array or scalar: shape {tuple(tensor.shape)} for {num_rows} rows")
    if not torch.isfinite(tensor).all() or (tensor < 0).any():
        raise ValueError("sample_weight: expected finite numbers, none negative")
    if not (tensor > 0).any():
        raise ValueError("sample_weight: expected at least one above zero")
    return tensor / tensor.mean()


def features_of(name: str, features: Any, logits: Tensor) -> Tensor:
    """The pooled features (N, D) that a calibrator needs.

    Raises:
        InputError: there are none.
        ValueError: another number of rows, or values that are not finite.
    """
    if features is None:
        raise InputError(f"{name} needs features: pass features=… (N, D) together with the logits")
    features = torch.as_tensor(features).to(logits.device)
    if features.ndim != 2 or len(features) != len(logits):
        raise ValueError(f"features: shape {tuple(features.shape)} does not fit {len(logits)} rows of logits")
    if not torch.isfinite(features).all():
        raise ValueError("features: NaN or infinite values")
    return features


def names_of_columns(logits: Any) -> np.ndarray | None:
    """The column names of a data frame where all are text, or None."""
    columns = getattr(logits, "columns", None)
    if columns is None or not all(isinstance(column, str) for column in columns):
        return None
    return np.asarray(columns, dtype=object)
