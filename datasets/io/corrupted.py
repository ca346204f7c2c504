"""Reads the arrays of CIFAR-C: images of five severities one after the other, and their labels."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from calbench.benchmark.core.errors import InputError
from calbench.datasets.base import Split

_SIZE, SEVERITIES = 32, 5


def read_corrupted(name: str, path: Path, severity: int, num_classes: int) -> Split:
    """The images of one severity in a file, with the labels of ``labels.npy`` next to it; the rest is not read.

    Args:
        name: of the dataset, for errors.
        path: ``<folder>/<corruption>.npy``, uint8 (5 N, 32, 32, 3).
        severity: 1 to 5.
        num_classes: K; labels are whole numbers in 0..K-1.

    Raises:
        InputError: a file is no such array, or their numbers of rows differ.
    """
    images, labels = _array(name, path), _array(name, path.with_name("labels.npy"))
    folder = path.parent.name
    if images.ndim != 4 or images.shape[1:] != (_SIZE, _SIZE, 3) or images.dtype != np.uint8:
        shape = f"{images.dtype} {images.shape}"
        raise InputError(f"{name}: {folder}/{path.name} is no array of 32 x 32 RGB images: {shape}")
    if labels.ndim != 1 or labels.dtype.kind not in "fiu":
        raise InputError(f"{name}: {folder}/labels.npy is no array of labels: {labels.dtype} {labels.shape}")
    if len(labels) != len(images) or len(images) % SEVERITIES or not len(images):
        raise InputError(
            f"{name}: {folder}/{path.name} has {len(images)} images and labels.npy {len(labels)} labels; expected as "
            f"many, in {SEVERITIES} severities"
        )
    size = len(images) // SEVERITIES
    rows = slice((severity - 1) * size, severity * size)
    classes = np.array(labels[rows])
    if not ((classes == np.round(classes)) & (classes >= 0) & (classes < num_classes)).all():
        raise InputError(f"{name}: {folder}/labels.npy has labels outside 0..{num_classes - 1}")
    pixels = torch.from_numpy(np.ascontiguousarray(images[rows].transpose(0, 3, 1, 2)))
    return Split(pixels, torch.from_numpy(classes.astype(np.int64)))


def _array(name: str, path: Path) -> Any:
    """An array that is read where it is used; a file is never larger in memory than on the disk."""
    try:
        if not path.is_file():
            raise ValueError("not a regular file")
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{name}: {path.parent.name}/{path.name} cannot be read: {error}") from None
