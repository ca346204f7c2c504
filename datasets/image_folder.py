"""Any images in folders, one per class."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

from pydantic import Field

from calbench.benchmark.core.errors import InputError
from calbench.datasets._local import LocalDataset
from calbench.datasets._split import stratified_subset
from calbench.datasets.base import Splits, register
from calbench.datasets.io.decoding import decode
from calbench.datasets.io.images import Listing, class_names, decoded_split, list_images

RGB = tuple[float, float, float]


@register("image-folder", label="Image folder")
@dataclass(kw_only=True)
class ImageFolder(LocalDataset):
    """``path/train/<class>/**`` and ``path/test/<class>/**``, decoded once and kept in memory as 8-bit RGB.

    `size` resizes every image (shorter side, then the central square); without it all must be squares of one size.
    `train` takes a stratified random subset of that many training images, the same in every run.
    The decoded pixels are kept in the data folder, under a hash of the files' content.
    """

    size: Annotated[int, Field(ge=1)] | None = None
    train: Annotated[int, Field(ge=1)] | None = None
    mean: RGB = (0.485, 0.456, 0.406)
    std: RGB = (0.229, 0.224, 0.225)
    crop_padding: Annotated[int, Field(ge=0)] = 4
    horizontal_flip: bool = True

    channels = 3

    @cached_property
    def classes(self) -> list[str]:
        """Names of the classes: the folders of the training split, sorted."""
        return class_names(self.path / "train")

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.classes)

    @cached_property
    def image_size(self) -> int:
        """Pixels, from the option or from the first image."""
        if self.size is not None:
            return self.size
        train = self._listing("train")
        height, width = decode(train.folder / train.names[0]).shape[1:]
        if height != width:
            raise InputError(f"{self.spelled()}: images of {width} x {height} pixels are no squares; set size")
        return height

    def load(self, root: Path) -> Splits:
        """Decode the images, or read their pixels from ``cache`` under `root`."""
        size, resize = self.image_size, self.size is not None
        parts = [self._listing(split) for split in ("train", "test")]
        train, test = (decoded_split(part, size, root, resize=resize) for part in parts)
        return Splits(stratified_subset(train, self.train), test)

    def num_samples(self, root: Path) -> tuple[int, int]:
        """The numbers of files."""
        return self.train or len(self._listing("train").labels), len(self._listing("test").labels)

    def fingerprint(self, root: Path) -> str:
        """The hash of the names and content of all files; a file is read again only when it has changed."""
        return "-".join(self._listing(split).digest(root) for split in ("train", "test"))

    def _listing(self, split: str) -> Listing:
        return list_images(self.path / split, self.classes)
