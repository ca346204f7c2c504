"""Tiny-ImageNet: 200 classes of 64-pixel photographs."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from calbench.benchmark.core.errors import InputError
from calbench.datasets.base import Dataset, Splits, register
from calbench.datasets.io.archives import safe_extract
from calbench.datasets.io.download import RemoteFile, ensure_files, locked
from calbench.datasets.io.images import Listing, decoded_split, is_image

FOLDER = "tiny-imagenet-200"


@register("tiny-imagenet", label="Tiny-ImageNet", paper="le2015tiny")
@dataclass
class TinyImageNet(Dataset):
    """Tiny-ImageNet: 100,000 training images and, as the test split, its 10,000 labelled validation images.

    The class of a validation image stands in ``val_annotations.txt``, not in its folder: read as plain folders, the
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
        folder = root / FOLDER
        if not (folder / "val" / "val_annotations.txt").is_file():
            path = ensure_files(root, self.spec.name, [self.archive])[0]
            with locked(root, self.spec.name):
                if not (folder / "val" / "val_annotations.txt").is_file():
                    safe_extract(path, root)
        classes = {wnid: i for i, wnid in enumerate(sorted(_lines(folder / "wnids.txt")))}
        if len(classes) != self.num_classes:
            raise InputError(f"tiny-imagenet: wnids.txt names {len(classes)} classes, expected {self.num_classes}")
        listings = train_listing(folder / "train", classes), validation_listing(folder / "val", classes)
        caches = [root / "cache" / f"{self.spec.name}-{part.digest(sizes=True)}.safetensors" for part in listings]
        return Splits(*[decoded_split(p, self.image_size, c) for p, c in zip(listings, caches, strict=True)])

    def num_samples(self, root: Path) -> tuple[int, int]:
        """The published sizes."""
        return 100_000, 10_000

    def fingerprint(self, root: Path) -> str:
        """A constant: the archive is checked against its published checksum before it is unpacked."""
        return "tiny-imagenet-200"


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
