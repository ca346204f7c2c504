"""ImageNet-1K, streamed from a local folder."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from calbench.benchmark.core.errors import InputError
from calbench.datasets._local import LocalDataset
from calbench.datasets.base import Split, Splits, register
from calbench.datasets.io.images import FolderImages, Listing, class_names, list_images


@register("imagenet", label="ImageNet-1K", paper="russakovsky2015imagenet")
@dataclass(kw_only=True)
class ImageNet(LocalDataset):
    """ILSVRC 2012 as ``path/train/<wnid>/*`` and ``path/val/<wnid>/*``; the validation images are the test split.

    The fingerprint is of content: the first run reads all files once (about 150 GB), later runs only their sizes and
    times. The images are read by worker processes while the network trains: random resized crops in training, the
    central crop in evaluation. Classes are numbered by their sorted folder names, as everywhere.
    """

    num_classes = 1000
    channels = 3
    image_size = 224
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)
    horizontal_flip = True

    @cached_property
    def classes(self) -> list[str]:
        """The 1,000 WordNet ids, sorted."""
        names = class_names(self.path / "train")
        if len(names) != self.num_classes:
            raise InputError(f"{self.spelled()}: train has {len(names)} class folders, expected {self.num_classes}")
        return names

    def load(self, root: Path) -> Splits:
        """List the files; the pixels are read when they are needed."""
        return Splits(self._split(self._listing("train")), self._split(self._listing("val")))

    def num_samples(self, root: Path) -> tuple[int, int]:
        """The numbers of files."""
        return len(self._listing("train").labels), len(self._listing("val").labels)

    def fingerprint(self, root: Path) -> str:
        """The hash of the names and content of all files; a file is read again only when it has changed."""
        return "-".join(self._listing(part).digest(root) for part in ("train", "val"))

    def _listing(self, part: str) -> Listing:
        return list_images(self.path / part, self.classes)

    def _split(self, listing: Listing) -> Split:
        return Split(FolderImages(listing), torch.tensor(listing.labels, dtype=torch.int64))
