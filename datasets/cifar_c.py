"""CIFAR-10-C and CIFAR-100-C: the corrupted test images that Hendrycks and Dietterich published."""

from abc import ABC
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from calbench.benchmark.core.errors import InputError, nearest
from calbench.datasets.base import Dataset, Split
from calbench.datasets.io.content import digest_of
from calbench.datasets.shifted import SEVERITIES, CorruptedSet, register


@dataclass
class CIFARC(CorruptedSet, ABC):
    """Base of both: ``<folder>/<corruption>.npy`` with the test images at five severities, and ``labels.npy``.

    `corruptions` are names of the files.
    """

    folder: ClassVar[str]
    record: ClassVar[str]

    def load(self, name: str, dataset: Dataset, root: Path) -> Split:
        """The images of one corruption at one severity; the rest of the file is not read."""
        corruption, _, severity = name.rpartition("-")
        path = self._paths(root)[corruption]
        try:
            images = np.load(path, mmap_mode="r", allow_pickle=False)
            labels = np.load(path.with_name("labels.npy"), allow_pickle=False).astype(np.int64)
        except (OSError, ValueError) as error:
            raise InputError(f"{self.spec.name}: {self.folder}/{path.name} cannot be read: {error}") from None
        if images.ndim != 4 or images.shape[1:] != (32, 32, 3) or images.dtype != np.uint8:
            raise InputError(
                f"{self.spec.name}: {self.folder}/{path.name} is no array of 32 x 32 RGB images: shape {images.shape}"
            )
        if len(labels) != len(images) or len(images) % SEVERITIES:
            raise InputError(
                f"{self.spec.name}: {self.folder}/{path.name} has {len(images)} images and labels.npy {len(labels)} "
                f"labels; expected as many, in {SEVERITIES} severities"
            )
        if labels.min(initial=0) < 0 or labels.max(initial=0) >= dataset.num_classes:
            raise InputError(
                f"{self.spec.name}: {self.folder}/labels.npy has labels outside 0..{dataset.num_classes - 1}"
            )
        size = len(images) // SEVERITIES
        rows = slice((int(severity) - 1) * size, int(severity) * size)
        pixels = torch.from_numpy(np.ascontiguousarray(images[rows].transpose(0, 3, 1, 2)))
        return Split(pixels, torch.from_numpy(labels[rows]))

    def fingerprint(self, dataset: Dataset, root: Path) -> str:
        """The hash of the files' content."""
        paths = [*self._paths(root).values(), root / self.folder / "labels.npy"]
        return digest_of(root, [path.name for path in paths], paths)

    def _paths(self, root: Path) -> dict[str, Path]:
        folder = root / self.folder
        known = sorted(path.stem for path in folder.glob("*.npy")) if folder.is_dir() else []
        for name in (*self.corruptions, "labels"):
            if name not in known:
                raise InputError(
                    f"{self.spec.name}: {self.folder}/{name}.npy is not in the data folder{nearest(name, known)}; "
                    f"unpack {self.folder}.tar of zenodo.org/records/{self.record} there"
                )
        return {name: folder / f"{name}.npy" for name in self.corruptions}


@register("cifar10-c", label="CIFAR-10-C", paper="hendrycks2019corruptions")
@dataclass
class CIFAR10C(CIFARC):
    """CIFAR-10-C."""

    of = ("cifar10",)
    folder = "CIFAR-10-C"
    record = "2535967"


@register("cifar100-c", label="CIFAR-100-C", paper="hendrycks2019corruptions")
@dataclass
class CIFAR100C(CIFARC):
    """CIFAR-100-C."""

    of = ("cifar100",)
    folder = "CIFAR-100-C"
    record = "3555552"
