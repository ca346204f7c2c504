"""Checks of what a user hands in: logits, probabilities and labels, NumPy or torch, any float type."""

from typing import Any

import torch
from torch import Tensor


def as_logits(logits: Any) -> Tensor:
    """`logits` as a floating tensor (N, K), not copied where that is possible.

    Raises:
        ValueError: not two-dimensional, no rows, fewer than two classes, or a row that is not finite.
    """
    tensor = _matrix(logits, "logits")
    finite = torch.isfinite(tensor.sum(dim=1))  # one cheap pass; the slow test runs only where it matters
    if not finite.all():
        suspect = (~finite).nonzero().flatten()
        bad = suspect[~torch.isfinite(tensor[suspect]).all(dim=1)]
        if len(bad):
            raise ValueError(f"logits: row {int(bad[0])} holds NaN or infinite values ({len(bad)} such rows)")
    return tensor


def as_labels(labels: Any, num_rows: int, num_classes: int) -> Tensor:
    """`labels` as int64 (N,).

    Raises:
        ValueError: another length than the logits, not whole numbers, or a label outside 0..K-1.
    """
    tensor = torch.as_tensor(labels)
    if tensor.ndim != 1 or len(tensor) != num_rows:
        raise ValueError(f"labels: shape {tuple(tensor.shape)} does not fit {num_rows} rows of predictions")
    if tensor.is_floating_point():
        if (tensor != tensor.round()).any():
            row = int((tensor != tensor.round()).nonzero()[0])
            raise ValueError(f"labels: row {row} holds {tensor[row].item()}, not a class number")
    tensor = tensor.long()
    bad = ((tensor < 0) | (tensor >= num_classes)).nonzero().flatten()
    if len(bad):
        row = int(bad[0])
        raise ValueError(f"labels: row {row} holds {int(tensor[row])}, outside 0..{num_classes - 1}")
    return tensor


def _matrix(values: Any, what: str) -> Tensor:
    tensor = torch.as_tensor(values)
    if tensor.ndim != 2:
        raise ValueError(f"{what}: expected two dimensions (rows, classes), got shape {tuple(tensor.shape)}")
    if tensor.shape[0] == 0 or tensor.shape[1] < 2:
        raise ValueError(f"{what}: expected at least one row and two classes, got shape {tuple(tensor.shape)}")
    return tensor if tensor.is_floating_point() else tensor.float()
