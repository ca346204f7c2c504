"""CIFAR-10 and CIFAR-100 (Python version), optionally with corrupted and out-of-distribution test images."""

import hashlib
from abc import ABC
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from calbench.benchmark.core.errors import InputError, nearest
from calbench.datasets._split import stratified_subset
from calbench.datasets.base import Dataset, Split, Splits, register, registry
from calbench.datasets.io.content import digest_of
from calbench.datasets.io.corrupted import read_corrupted
from calbench.datasets.io.download import RemoteFile, ensure_unpacked
from calbench.datasets.io.pickles import load_arrays

_SEVERITIES = 5


@dataclass
class CIFAR(Dataset, ABC):
    """Base of both: 50,000 training and 10,000 test images of 32 x 32 pixels.

    `train` takes a stratified random subset of that many training images, the same in every run. `corruptions` names
    files of Hendrycks and Dietterich's corrupted test set (``gaussian_noise`` ...), each of which gives one shifted
    split per severity; `out_of_distribution` names datasets whose test splits are out-of-distribution here.
    """

    channels = 3
    image_size = 32
    crop_padding = 4
    horizontal_flip = True

    torchvision_class: ClassVar[str]
    labels_key: ClassVar[str]
    corrupted_folder: ClassVar[str]
    corrupted_record: ClassVar[str]

    train: Annotated[int, Field(ge=1)] | None = None
    corruptions: tuple[str, ...] = ()
    severities: tuple[Annotated[int, Field(ge=1, le=_SEVERITIES)], ...] = (1, 2, 3, 4, 5)
    out_of_distribution: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check the options, and that the out-of-distribution datasets are registered and have as many channels."""
        super().__post_init__()
        for name in self.out_of_distribution:
            if registry[name].channels != self.channels:
                raise InputError(f"{self.spec.name}: images of {name} have another number of channels")

    def load(self, root: Path) -> Splits:
        """Load from torchvision's layout under `root`, fetching and unpacking the archive where it is missing."""
        source = self._source()
        base, archive = source.base_folder, RemoteFile(source.filename, source.tgz_md5, (source.url,))
        train = [RemoteFile(f"{base}/{name}", md5) for name, md5 in source.train_list]
        test = [RemoteFile(f"{base}/{name}", md5) for name, md5 in source.test_list]
        paths = ensure_unpacked(root, self.spec.name, archive, train + test)
        return Splits(
            stratified_subset(self._read(paths[: len(train)]), self.train),
            self._read(paths[len(train) :]),
            self._shifted(root),
            {name: registry.create(name).load(root).test for name in self.out_of_distribution},
        )

    def num_samples(self, root: Path) -> tuple[int, int]:
        """The published sizes, or the size of the subset."""
        return self.train or 50_000, 10_000

    def fingerprint(self, root: Path) -> str:
        """A constant, since every load checks the published checksums; with options, the other files' content too."""
        parts = [self.spec.name]
        if paths := list(self._corrupted_paths(root).values()):
            paths.append(paths[0].with_name("labels.npy"))
            parts.append(digest_of(root, [path.name for path in paths], paths))
        parts += [registry.create(name).fingerprint(root) for name in self.out_of_distribution]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def _source(self) -> Any:
        """The class of torchvision that knows addresses and checksums."""
        import torchvision.datasets

        return getattr(torchvision.datasets, self.torchvision_class)

    def _read(self, paths: list[Path]) -> Split:
        images, labels = [], []
        for path in paths:
            batch = load_arrays(path)
            data, targets = batch.get("data"), batch.get(self.labels_key)
            if not (isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and targets is not None):
                raise InputError(f"{self.spec.name}: {path.name} contains no images and labels")
            if data.shape[1] != 3 * 32 * 32 or len(targets) != len(data):
                found = f"{len(data)} images of {data.shape[1]} numbers and {len(targets)} labels"
                raise InputError(
                    f"{self.spec.name}: {path.name} has {found}; expected 3072 numbers, and as many labels"
                )
            images.append(torch.from_numpy(data.reshape(-1, 3, 32, 32)))
            labels.append(torch.as_tensor(targets, dtype=torch.int64))
        return Split(torch.cat(images), torch.cat(labels))

    def _corrupted_paths(self, root: Path) -> dict[str, Path]:
        folder = root / self.corrupted_folder
        known = sorted(path.stem for path in folder.glob("*.npy")) if folder.is_dir() else []
        for name in (*self.corruptions, "labels") if self.corruptions else ():
            if name not in known:
                raise InputError(
                    f"{self.spec.name}: {self.corrupted_folder}/{name}.npy is not in the data folder"
                    f"{nearest(name, known)}; unpack {self.corrupted_folder}.tar of "
                    f"zenodo.org/records/{self.corrupted_record} there"
                )
        return {name: folder / f"{name}.npy" for name in self.corruptions}

    def _shifted(self, root: Path) -> dict[str, Split]:
        found = {}
        for name, path in self._corrupted_paths(root).items():
            for severity in self.severities:
                found[f"{name}-{severity}"] = read_corrupted(self.spec.name, path, severity, self.num_classes)
        return found


@register("cifar10", label="CIFAR-10", paper="krizhevsky2009cifar")
@dataclass
class CIFAR10(CIFAR):
    """CIFAR-10: ten classes of 32 x 32 pixel photographs."""

    num_classes = 10
    mean = (0.4914, 0.4822, 0.4465)
    std = (0.2470, 0.2435, 0.2616)
    torchvision_class = "CIFAR10"
    labels_key = "labels"
    corrupted_folder = "CIFAR-10-C"
    corrupted_record = "2535967"


@register("cifar100", label="CIFAR-100", paper="krizhevsky2009cifar")
@dataclass
class CIFAR100(CIFAR):
    """CIFAR-100: a hundred classes of 32 x 32 pixel photographs."""

    num_classes = 100
    mean = (0.5071, 0.4865, 0.4409)
    std = (0.2673, 0.2564, 0.2762)
    torchvision_class = "CIFAR100"
    labels_key = "fine_labels"
    corrupted_folder = "CIFAR-100-C"
    corrupted_record = "3555552"
