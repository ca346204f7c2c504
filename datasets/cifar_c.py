"""CIFAR-10-C and CIFAR-100-C: the corrupted test images that Hendrycks and Dietterich published."""

from abc import ABC
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from calbench.benchmark.core.errors import InputError, nearest
from calbench.datasets.base import Dataset, Split
from calbench.datasets.io.content import digest_of
from calbench.datasets.io.corrupted import read_corrupted
from calbench.datasets.shifted import CorruptedSet, register


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
        return read_corrupted(self.spec.name, self._paths(root)[corruption], int(severity), dataset.num_classes)

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
