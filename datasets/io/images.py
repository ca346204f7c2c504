"""Images in folders: listing, decoding, and a cache of the decoded pixels."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import joblib
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from calbench.benchmark.core.errors import InputError
from calbench.datasets.base import Split, StreamedImages

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".webp")


@dataclass(frozen=True)
class Listing:
    """Image files with their class numbers, in a fixed order."""

    folder: Path
    names: list[str]
    labels: list[int]

    def digest(self, sizes: bool) -> str:
        """A hash of names and classes, and of the files' sizes in bytes where `sizes` is set."""
        hasher = hashlib.sha256()
        for name, label in zip(self.names, self.labels, strict=True):
            size = (self.folder / name).stat().st_size if sizes else 0
            hasher.update(f"{name}\0{label}\0{size}\n".encode())
        return hasher.hexdigest()[:16]


def class_names(folder: Path) -> list[str]:
    """The sub-folders of `folder`, sorted: the classes.

    Raises:
        InputError: there is no such folder, or it has no sub-folders.
    """
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise InputError(f"folder {folder.name!r}: {error.strerror}") from error
    if not names:
        raise InputError(f"folder {folder.name!r} has no sub-folders; expected one a class")
    return names


def list_images(folder: Path, classes: Sequence[str]) -> Listing:
    """List the images in the class folders of `folder`, sorted by class and name.

    Raises:
        InputError: a folder that is no class, or a class without images.
    """
    for name in class_names(folder):
        if name not in classes:
            raise InputError(f"folder {folder.name!r}: {name!r} is no class of the training folder")
    names, labels = [], []
    for label, cls in enumerate(classes):
        inside = folder / cls
        found = sorted(e.name for e in os.scandir(inside) if is_image(e.name)) if inside.is_dir() else []
        names += [f"{cls}/{name}" for name in found]
        labels += [label] * len(found)
    if not names:
        raise InputError(f"folder {folder.name!r} has no images ({', '.join(EXTENSIONS)})")
    return Listing(folder, names, labels)


def is_image(name: str) -> bool:
    """Whether a file name ends as one of an image."""
    return name.lower().endswith(EXTENSIONS)


def decode(path: Path, size: int | None = None) -> Tensor:
    """Read an image as uint8 RGB (3, H, W); with `size`, its shorter side resized and the centre cut out.

    Raises:
        InputError: the file cannot be read as an image.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            image = opened.convert("RGB")
            if size is not None and image.size != (size, size):
                image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"image {path.parent.name}/{path.name}: cannot be read: {error}") from error
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


class FolderImages(StreamedImages):
    """Images of a listing, decoded when they are asked for: uint8 (3, H, W) of whatever size."""

    def __init__(self, listing: Listing) -> None:
        self.folder = str(listing.folder)
        # One array instead of a list: worker processes share it, since reading it touches no reference counts.
        self.names = np.array(listing.names, dtype=np.bytes_) if all(map(str.isascii, listing.names)) else listing.names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Tensor:
        name = self.names[index]
        return decode(Path(self.folder, name.decode() if isinstance(name, bytes) else name))


def decoded_split(listing: Listing, size: int, cache: Path, *, resize: bool = False) -> Split:
    """All images of a listing as one uint8 tensor, from the file `cache` where it is good, else decoded and kept there.

    A cache that cannot be written costs time at the next load and nothing else.

    Raises:
        InputError: an image cannot be read, or is of another size and `resize` is not set.
    """
    labels = torch.tensor(listing.labels, dtype=torch.int64)
    shape = (len(labels), 3, size, size)
    try:
        images = load_file(cache)["images"]
        if images.shape == shape and images.dtype == torch.uint8:
            return Split(images, labels)
    except (OSError, SafetensorError, KeyError):
        pass  # not there yet, or damaged: made again
    images = torch.empty(shape, dtype=torch.uint8)

    def fill(index: int) -> None:
        image = decode(listing.folder / listing.names[index], size if resize else None)
        if image.shape != shape[1:]:
            height, width = image.shape[1:]
            raise InputError(f"image {listing.names[index]} has {width} x {height} pixels, not {size} x {size}")
        images[index] = image

    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        for _ in pool.map(fill, range(len(labels)), chunksize=256):
            pass
    _keep(images, cache)
    return Split(images, labels)


def _keep(images: Tensor, cache: Path) -> None:
    partial = cache.with_name(f"{cache.name}.{os.getpid()}.part")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        save_file({"images": images}, partial)
        os.replace(partial, cache)
    except (OSError, SafetensorError):
        partial.unlink(missing_ok=True)
