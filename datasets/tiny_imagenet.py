"""Tiny-ImageNet: 200 classes of 64-pixel photographs."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.files import write_atomically
from calbench.datasets.base import Dataset, Splits, register
from calbench.datasets.io.archives import safe_extract
from calbench.datasets.io.download import RemoteFile, ensure_files, locked
from calbench.datasets.io.images import Listing, decoded_split, is_image

FOLDER = "tiny-imagenet-200"
UNPACKED = f"cache/{FOLDER}.unpacked"
"""The hash of what the archive contained, written when it was unpacked."""


@register("tiny-imagenet", label="Tiny-ImageNet", paper="le2015tiny")
@dataclass
class TinyImageNet(Dataset):
    """Tiny-ImageNet: 100,000 training images and, as the test split, its 10,000 labelled validation images.

    The class of a validation image is given in ``val_annotations.txt``, not in its folder: read as plain folders, the
    validation set would be one class. Classes are numbered in the order of ``wnids.txt`` sorted.
    """

    num_classes = 200
    channels = 3
    image_size = 64
    mean = (0.4802, 0.4481, 0.3975)
    std = (0.2770, 0.2691, 0.2821)
    crop_padding = 4
    horizontal_flip = True

    archive: ClassVar[RemoteFile] = RemoteFile(
        f"{FOLDER}.zip", "90528d7ca1a48142e341f4ef8d21d0de", (f"http://cs231n.stanford.edu/{FOLDER}.zip",)
    )

    def load(self, root: Path) -> Splits:
        """Load from the unpacked folder under `root`, fetching and unpacking the archive where it is missing."""
        if not _is_unpacked(root):
            path = ensure_files(root, self.spec.name, [self.archive])[0]
            with locked(root, self.spec.name):
                if not _is_unpacked(root):
                    safe_extract(path, root)
                    write_atomically(root / UNPACKED, self._content(root).encode())
        train, test = (decoded_split(part, self.image_size, root) for part in self._listings(root))
        return Splits(train, test)

    def num_samples(self, root: Path) -> tuple[int, int]:
        """The published sizes."""
        return 100_000, 10_000

    def fingerprint(self, root: Path) -> str:
        """A constant while the files are those of the archive, whose checksum is checked; else with their hash."""
        content = self._content(root) if _is_unpacked(root) else None
        with contextlib.suppress(OSError):
            if content is not None and (root / UNPACKED).read_text() == content:
                content = None
        return FOLDER if content is None else f"{FOLDER}-{content}"

    def _content(self, root: Path) -> str:
        return "-".join(part.digest(root) for part in self._listings(root))

    def _listings(self, root: Path) -> tuple[Listing, Listing]:
        folder = root / FOLDER
        classes = {wnid: i for i, wnid in enumerate(sorted(_lines(folder / "wnids.txt")))}
        if len(classes) != self.num_classes:
            raise InputError(f"tiny-imagenet: wnids.txt names {len(classes)} classes, expected {self.num_classes}")
        return train_listing(folder / "train", classes), validation_listing(folder / "val", classes)


def _is_unpacked(root: Path) -> bool:
    return (root / FOLDER / "val" / "val_annotations.txt").is_file()


def train_listing(folder: Path, classes: dict[str, int]) -> Listing:
    """The training images: ``<wnid>/images/*.JPEG``."""
    names, labels = [], []
    for wnid, label in classes.items():
        inside = folder / wnid / "images"
        found = sorted(p.name for p in inside.iterdir() if is_image(p.name)) if inside.is_dir() else []
        if not found:
            raise InputError(f"tiny-imagenet: train/{wnid}/images is missing or empty; delete {FOLDER} to unpack anew")
        names += [f"{wnid}/images/{name}" for name in found]
        labels += [label] * len(found)
    return Listing(folder, names, labels)


def validation_listing(folder: Path, classes: dict[str, int]) -> Listing:
    """The validation images with the classes of ``val_annotations.txt``.

    Raises:
        InputError: a line without file and class, an unknown class, or an image outside the folder.
    """
    pairs = []
    for number, line in enumerate(_lines(folder / "val_annotations.txt"), start=1):
        fields = line.split("\t")
        if len(fields) < 2 or fields[1] not in classes or Path(fields[0]).name != fields[0]:
            raise InputError(f"tiny-imagenet: val_annotations.txt, line {number}: expected an image and its class")
        pairs.append((f"images/{fields[0]}", classes[fields[1]]))
    pairs.sort()
    return Listing(folder, [name for name, _ in pairs], [label for _, label in pairs])


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"tiny-imagenet: {path.name} cannot be read: {error}") from error
