"""Stratified splits that are the same on every machine for the same labels and seed."""

import numpy as np
import torch
from torch import Tensor

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.seeds import seed_for
from calbench.datasets.base import Split


def stratified_split(labels: Tensor, fraction: float, seed: int) -> tuple[Tensor, Tensor]:
    """Carve `fraction` of the samples off, every class in proportion.

    The number carved is ``round(fraction * N)``; each class gets the floor of its share, and the largest remainders
    get one more (Hamilton's method; ties go to the lower class). A class of one sample is carved off only where its
    remainder wins, so it may be absent from one side. PCG64 decides which samples, and NumPy promises the same stream
    on every platform; the indices come back sorted.

    Args:
        labels: (N,) integers.
        fraction: share to carve off, 0 < fraction < 1.
        seed: decides the choice, and nothing else.

    Returns:
        The indices (int64) that remain and those carved off.

    Raises:
        InputError: `fraction` is outside (0, 1), or one side would be empty.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the fraction of a split must lie between 0 and 1, not {fraction}")
    targets = labels.detach().cpu().numpy()
    carved_total = round(fraction * len(targets))
    if not 0 < carved_total < len(targets):
        raise InputError(f"a fraction of {fraction} of {len(targets)} samples leaves one side of the split empty")
    _, inverse, counts = np.unique(targets, return_inverse=True, return_counts=True)
    quotas = _largest_remainder(counts, carved_total)
    members = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
    generator = np.random.default_rng(seed)
    carved = np.concatenate([generator.permutation(m)[:quota] for m, quota in zip(members, quotas, strict=True)])
    keep = np.ones(len(targets), dtype=bool)
    keep[carved] = False
    return torch.from_numpy(np.flatnonzero(keep)), torch.from_numpy(np.sort(carved).astype(np.int64))


def stratified_subset(split: Split, size: int | None) -> Split:
    """A stratified random subset of `size` samples, the same in every run; the whole split for None.

    Raises:
        InputError: there are not as many samples, or not one per class.
    """
    if size is None or size == len(split):
        return split
    if size > len(split):
        raise InputError(f"a subset of {size} images was asked for; there are {len(split)}")
    if size < len(split.labels.unique()):
        raise InputError(f"a subset of {size} images cannot contain all {len(split.labels.unique())} classes")
    _, chosen = stratified_split(split.labels, size / len(split), seed_for(0, "training-subset", size))
    return split.subset(chosen)


def _largest_remainder(counts: np.ndarray, total: int) -> np.ndarray:
    """Whole quotas in proportion to `counts` that add up to `total`; exact, in integers."""
    products = counts.astype(np.int64) * total
    quotas, remainders = np.divmod(products, counts.sum())
    winners = np.argsort(-remainders, kind="stable")[: total - quotas.sum()]
    quotas[winners] += 1
    return quotas
