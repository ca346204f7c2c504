"""Folds of a calibration split: every class in every fold, whatever the order of the rows."""

import torch
from torch import Tensor

from calbench.benchmark.core.seeds import seed_for


def stratified_folds(labels: Tensor, folds: int) -> Tensor:
    """The fold of every row, at random within each class and always the same for the same labels.

    Every fifth row would not do: where ten classes take turns a fold has rows of two of them.

    Args:
        labels: classes (N,).
        folds: their number.

    Returns:
        Fold of each row (N,), 0 to folds - 1; the folds differ in size by at most one row.

    Example:
        >>> labels = torch.arange(10) % 2
        >>> sorted(labels[stratified_folds(labels, 5) == 0].tolist())
        [0, 1]
    """
    generator = torch.Generator().manual_seed(seed_for(0, "folds"))
    shuffled = torch.randperm(len(labels), generator=generator)
    by_class = shuffled[labels.cpu()[shuffled].argsort(stable=True)]
    fold = torch.empty(len(labels), dtype=torch.long)
    fold[by_class] = torch.arange(len(labels)) % folds
    return fold.to(labels.device)
