"""The base class of datasets: images and labels of K classes, in a training pool and a test split.

The protocol takes the calibration split from the training pool, the same way for every dataset.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, cast

from torch import Tensor
from torch.utils.data import Dataset as StreamedImages
from torch.utils.data import Subset

from calbench.benchmark.core.registry import Component, Registry


@dataclass
class Split:
    """N labelled images.

    Attributes:
        images: (N, C, H, W), uint8 in 0..255 or float32 as the network gets it; or, for sets that do not fit in
            memory, a map-style `torch.utils.data.Dataset` that gives one uint8 image (C, H, W) per index.
        labels: (N,) int64.
        posterior: the true class distribution of each image (N, K) float64 where it is known, else None.
    """

    images: Tensor | StreamedImages
    labels: Tensor
    posterior: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, indices: Tensor) -> "Split":
        """The samples at `indices` (int64), in that order."""
        in_memory = isinstance(self.images, Tensor)
        images = self.images[indices] if in_memory else Subset(cast("StreamedImages", self.images), indices.tolist())
        posterior = None if self.posterior is None else self.posterior[indices]
        return Split(images, self.labels[indices], posterior)


@dataclass
class Splits:
    """A loaded dataset: the training pool, the test split, and any named shifted or out-of-distribution test splits."""

    train: Split
    test: Split
    shifted: dict[str, Split] = field(default_factory=dict)
    out_of_distribution: dict[str, Split] = field(default_factory=dict)


class Dataset(Component, ABC):
    """Base of all datasets.

    Class attributes that a subclass sets (or properties, where options decide): ``num_classes``, ``channels``,
    ``image_size`` (pixels), ``mean`` and ``std`` per channel of images scaled to 0..1 (of the raw values for float
    images), ``crop_padding`` and ``horizontal_flip`` of the standard training augmentation, ``has_posterior`` where
    every split comes with the true class distribution.
    """

    num_classes: int
    channels: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop_padding: ClassVar[int] = 0
    horizontal_flip: ClassVar[bool] = False
    has_posterior: ClassVar[bool] = False

    @abstractmethod
    def load(self, root: Path) -> Splits:
        """Load the data, from files under `root` where it has any.

        Raises:
            InputError: files are missing or damaged; the message says what to do.
        """

    @abstractmethod
    def fingerprint(self, root: Path) -> str:
        """A short hash of the content, cheap to take; part of every cache key."""

    def num_samples(self, root: Path) -> tuple[int, int]:
        """The numbers of images in the training pool and the test split; a subclass may know them without loading.

        Raises:
            InputError: files are missing or damaged; the message says what to do.
        """
        splits = self.load(root)
        return len(splits.train), len(splits.test)


registry: Registry[type[Dataset]] = Registry("dataset")
register = registry.register
