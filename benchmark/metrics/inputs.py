"""Checks of user input: logits, probabilities and labels, NumPy or torch, any float type."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Some functions of torch have no complete types.
import math
import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from calbench.benchmark.core.caller import level_outside
from calbench.benchmark.core.labels import class_numbers

_SUM_TOLERANCE = {torch.float16: 5e-3, torch.bfloat16: 2e-2}
_FEW_ROWS, _LOOSE_TOLERANCE = 10, 1e-3
_DEFAULT_SUM_TOLERANCE = 1e-4  # float32 softmax of 1,000 classes is off by 1e-6, float32 written with 6 digits by 1e-5


def as_logits(logits: Any) -> Tensor:
    """`logits` as a floating tensor (N, K), not copied where that is possible.

    Raises:
        ValueError: not two-dimensional, no rows, fewer than two classes, or a row that is not finite.
    """
    tensor = as_matrix(logits, "logits")
    check_finite(tensor)
    warn_of_probabilities(tensor)
    return tensor


def warn_of_probabilities(logits: Tensor) -> None:
    """Warn where every row of `logits` (N, K) is non-negative and sums to one, as probabilities do."""
    if len(logits) < _FEW_ROWS or not _sum_to_one(logits[:_FEW_ROWS]) or not _sum_to_one(logits):
        return
    message = "every row of the logits is non-negative and sums to one, as probabilities do: pass their logarithm"
    warnings.warn(f"{message}, or to evaluate as probabilities=", stacklevel=level_outside())


def _sum_to_one(values: Tensor) -> bool:
    totals = values.sum(dim=1, dtype=torch.promote_types(values.dtype, torch.float32))
    return bool((totals - 1).abs().max() < _LOOSE_TOLERANCE) and bool(values.min() >= 0)


def as_labels(labels: Any, num_rows: int, num_classes: int) -> Tensor:
    """`labels` as int64 (N,), on the device of `labels`.

    Args:
        labels: (N,), (N, 1) or (1, N): whole numbers of any type or truth values; or one-hot rows (N, K).
        num_rows: N.
        num_classes: K.

    Raises:
        ValueError: another length than the logits, not whole numbers, or a label outside 0..K-1.
    """
    if not isinstance(labels, Tensor):
        return torch.from_numpy(class_numbers(labels, num_rows, num_classes))
    host = labels.detach().cpu()
    array = (host.double() if host.dtype == torch.bfloat16 else host).numpy()
    return torch.from_numpy(class_numbers(array, num_rows, num_classes)).to(labels.device)


def as_matrix(values: Any, what: str) -> Tensor:
    """`values` as a floating tensor (N, K) with N >= 1 and K >= 2; the values themselves are not looked at.

    Raises:
        ValueError: another shape, or a type that holds no numbers.
    """
    tensor = _as_tensor(values, what)
    if tensor.ndim != 2:
        raise ValueError(f"{what}: expected two dimensions (rows, classes), got shape {tuple(tensor.shape)}")
    if tensor.shape[0] == 0 or tensor.shape[1] < 2:
        raise ValueError(f"{what}: expected at least one row and two classes, got shape {tuple(tensor.shape)}")
    return tensor if tensor.is_floating_point() else tensor.double()


def check_finite(logits: Tensor, offset: int = 0) -> None:
    """Raise a ValueError that names the first row of `logits` with NaN or infinite values.

    Args:
        logits: (N, K).
        offset: number of the first row, for the message.
    """
    total = logits.sum(dtype=torch.promote_types(logits.dtype, torch.float32))
    if math.isfinite(total):  # one cheap pass; the slow test runs only where a sum overflows or is at fault
        return
    bad = (~torch.isfinite(logits).all(dim=1)).nonzero().flatten()
    if len(bad):
        raise ValueError(f"logits: row {offset + int(bad[0])} contains NaN or infinite values")


def check_probabilities(probabilities: Tensor, offset: int = 0, what: str = "probabilities") -> None:
    """Raise a ValueError that names the first row that is no probability distribution.

    A row must be finite, not negative and sum to one, within the precision of its type (1e-4 for float32 and float64).

    Args:
        probabilities: (N, K), of the type that the user passed.
        offset: number of the first row, for the message.
        what: name of the argument, for the message.
    """
    tolerance = _SUM_TOLERANCE.get(probabilities.dtype, _DEFAULT_SUM_TOLERANCE)
    totals = probabilities.sum(dim=1, dtype=torch.promote_types(probabilities.dtype, torch.float32))
    off = ~((totals - 1).abs() <= tolerance)
    if off.any():
        row = int(off.nonzero()[0])
        raise ValueError(f"{what}: row {offset + row} sums to {totals[row].item():.6g}, not to 1")
    low = probabilities.amin(dim=1)
    if (low < -tolerance).any():
        row = int((low < -tolerance).nonzero()[0])
        raise ValueError(f"{what}: row {offset + row} contains {low[row].item():.6g}, below 0")


def _as_tensor(values: Any, what: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ValueError(f"{what}: expected numbers, got {array.dtype} values")
    if not array.dtype.isnative or any(stride < 0 for stride in array.strides):
        array = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))
    if array.dtype == np.longdouble and np.longdouble != np.float64:
        array = _narrowed(array, what)
    elif array.dtype == np.uint64:
        array = array.astype(np.float64)
    elif array.dtype.kind == "u":  # torch can do little with these
        array = array.astype(np.int64)
    with warnings.catch_warnings():  # a read-only array is fine: nothing here writes to its input
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(array)


def _narrowed(array: np.ndarray, what: str) -> np.ndarray:
    """Extended precision as float64, after the maximum of each row of logits is subtracted, so that no gap is lost."""
    if what == "logits" and array.ndim == 2 and array.size and np.isfinite(array).all():
        array = array - array.max(axis=1, keepdims=True)
    return array.astype(np.float64)
