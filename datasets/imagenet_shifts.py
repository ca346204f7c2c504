"""Shifted test sets of ImageNet in local folders: ImageNet-C, V2, -A, -R and -Sketch."""

from abc import ABC
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from calbench.benchmark.core.errors import InputError
from calbench.datasets.base import Dataset, Split
from calbench.datasets.io.images import FolderImages, Listing, class_names, list_images
from calbench.datasets.shifted import CorruptedSet, ShiftedSet, register


@dataclass(kw_only=True)
class FolderShift(ShiftedSet, ABC):
    """Base of sets at `path`, with a folder for each class, named as in the training folder."""

    of = ("imagenet", "image-folder")
    already_cropped: ClassVar[bool] = False
    expected_classes: ClassVar[int | None] = None

    path: Path

    def identity(self) -> dict[str, Any]:
        """As for every component, without the path: the fingerprint identifies the content."""
        plain = super().identity()
        return plain | {"options": {k: v for k, v in plain["options"].items() if k != "path"}}

    def spelled(self) -> str:
        """The registered name, without the path."""
        return self.spec.name

    def split_names(self) -> list[str]:
        """One split, which has no name."""
        return [""]

    def load(self, name: str, dataset: Dataset, root: Path) -> Split:
        """The images of one split, read by worker processes when they are needed."""
        listing = self._listing(name, dataset)
        classes = self.classes(dataset, root)
        missing = set(classes or ()) - set(listing.labels)
        if missing:
            raise InputError(f"{self.spec.name}: {name or 'the folder'} has no images of class {min(missing)}")
        return Split(FolderImages(listing), torch.tensor(listing.labels, dtype=torch.int64))

    def fingerprint(self, dataset: Dataset, root: Path) -> str:
        """The hash of the names and content of all files; a file is read again only when it has changed."""
        return "-".join(self._listing(name, dataset).digest(root) for name in self.split_names())

    def _folder(self, name: str) -> Path:
        return self.path

    def _names_of(self, dataset: Dataset) -> list[str]:
        """The folders of the classes, in the order of the dataset's classes."""
        return list(getattr(dataset, "classes"))  # noqa: B009 - datasets in folders have them

    def _listing(self, name: str, dataset: Dataset) -> Listing:
        folder = self._folder(name)
        known = self._names_of(dataset)
        present = class_names(folder)
        foreign = [one for one in present if one not in known]
        if foreign:
            raise InputError(
                f"{self.spec.name}: folder {foreign[0]!r} of {folder.name} is no class of {dataset.spelled()}"
                + (f" (nor are {len(foreign) - 1} others)" if len(foreign) > 1 else "")
            )
        if self.expected_classes is not None and len(present) != self.expected_classes and len(known) == 1000:
            raise InputError(
                f"{self.spec.name}: {folder.name} has {len(present)} class folders, expected {self.expected_classes}"
            )
        return list_images(folder, known)


@dataclass(kw_only=True)
class PartialShift(FolderShift, ABC):
    """Base of sets with some of the classes: predictions are restricted to them."""

    note = "has 200 of the 1,000 classes: predictions are restricted to these, after calibration"
    expected_classes = 200

    def classes(self, dataset: Dataset, root: Path) -> tuple[int, ...] | None:
        """The classes that have a folder."""
        present = set(class_names(self.path))
        return tuple(i for i, name in enumerate(self._names_of(dataset)) if name in present)


@register("imagenet-c", label="ImageNet-C", paper="hendrycks2019corruptions")
@dataclass(kw_only=True)
class ImageNetC(CorruptedSet, FolderShift):
    """ImageNet-C: ``path/<corruption>/<severity>/<wnid>/*``, also with the folders of the families in between.

    The images are crops of 224 pixels already, and are not cropped again.
    """

    already_cropped = True

    def _folder(self, name: str) -> Path:
        corruption, _, severity = name.rpartition("-")
        for folder in (self.path / corruption, *sorted(self.path.glob(f"*/{corruption}"))):
            if (folder / severity).is_dir():
                return folder / severity
        raise InputError(f"imagenet-c: {self.path.name} has no folder {corruption}/{severity}")


@register("imagenet-v2", label="ImageNet-V2", paper="recht2019imagenet")
@dataclass(kw_only=True)
class ImageNetV2(FolderShift):
    """ImageNet-V2: ``path/<number of the class>/*``, 0 to 999 in the order of the WordNet ids.

    The folders are numbers: sorted as names, 10 would come before 2.
    """

    of = ("imagenet",)

    def _names_of(self, dataset: Dataset) -> list[str]:
        return [str(number) for number in range(dataset.num_classes)]


@register("imagenet-a", label="ImageNet-A", paper="hendrycks2021adversarial")
@dataclass(kw_only=True)
class ImageNetA(PartialShift):
    """ImageNet-A: photographs that ResNet-50 gets wrong, of 200 classes; ``path/<wnid>/*``."""


@register("imagenet-r", label="ImageNet-R", paper="hendrycks2021faces")
@dataclass(kw_only=True)
class ImageNetR(PartialShift):
    """ImageNet-R: art, cartoons, toys and the like, of 200 classes; ``path/<wnid>/*``."""


@register("imagenet-sketch", label="ImageNet-Sketch", paper="wang2019sketch")
@dataclass(kw_only=True)
class ImageNetSketch(FolderShift):
    """ImageNet-Sketch: black and white drawings of all 1,000 classes; ``path/<wnid>/*``."""
