"""Folders of images: listing, streaming, and a cache of the decoded pixels."""

import hashlib
import inspect
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import joblib
import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.files import share_as_new
from calbench.datasets.base import Split, StreamedImages
from calbench.datasets.io import decoding
from calbench.datasets.io.content import digest_of
from calbench.datasets.io.decoding import decode

EXTENSIONS = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".webp")


@dataclass(frozen=True)
class Listing:
    """Image files with their class numbers, in a fixed order."""

    folder: Path
    names: list[str]
    labels: list[int]

    def digest(self, root: Path) -> str:
        """A hash of names, classes and the files' content; digests of unchanged files are kept under `root`.

        Raises:
            InputError: a file cannot be read.
        """
        names = [f"{label}/{name}" for name, label in zip(self.names, self.labels, strict=True)]
        return digest_of(root, names, [self.folder / name for name in self.names])


def class_names(folder: Path) -> list[str]:
    """The sub-folders of `folder`, sorted: the classes. Names that start with a dot are left out.

    Raises:
        InputError: there is no such folder, or it has no sub-folders.
    """
    where = f"{folder.parent.name}/{folder.name}"
    expected = f"expected one sub-folder of images per class, {where}/<class>/<image>"
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise InputError(f"{where}: {error.strerror}; {expected}") from error
    if not names:
        raise InputError(f"{where}: a folder without sub-folders; {expected}")
    return names


def list_images(folder: Path, classes: Sequence[str]) -> Listing:
    """List the images in the class folders of `folder` and in folders inside these, sorted by class and name.

    Args:
        folder: the folder of the class folders. A class may be missing in it.
        classes: the names of the classes, those of the training folder.

    Raises:
        InputError: a folder that is no class, or a class folder without images.
    """
    present = class_names(folder)
    for name in present:
        if name not in classes:
            raise InputError(f"folder {folder.name!r}: {name!r} is no class of the training folder")
    names, labels = [], []
    for label, cls in enumerate(classes):
        if cls not in present:
            continue
        inside = sorted(_images_below(folder / cls))
        if not inside:
            endings = ", ".join(EXTENSIONS)
            raise InputError(f"folder {folder.name!r}: class {cls!r} has no images ({endings}); remove its folder")
        names += [f"{cls}/{name}" for name in inside]
        labels += [label] * len(inside)
    return Listing(folder, names, labels)


def _images_below(folder: Path) -> Iterator[str]:
    """Names of the images in `folder` and below, relative to it; links are followed, but in no circle."""
    visited = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        state = os.stat(place)
        if (state.st_dev, state.st_ino) in visited:
            folders.clear()
            continue
        visited.add((state.st_dev, state.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in files:
            if is_image(name) and not name.startswith("."):
                yield Path(place, name).relative_to(folder).as_posix()


def is_image(name: str) -> bool:
    """Whether a file name ends as one of an image."""
    return name.lower().endswith(EXTENSIONS)


class FolderImages(StreamedImages):
    """Images of a listing, decoded when they are asked for: uint8 (3, H, W) of whatever size.

    As in torchvision, the EXIF orientation is not looked at, for published weights were trained and tested so.
    """

    def __init__(self, listing: Listing) -> None:
        self.folder = str(listing.folder)
        # One array instead of a list: worker processes share it, since reading it touches no reference counts.
        self.names = np.array(listing.names, dtype=np.bytes_) if all(map(str.isascii, listing.names)) else listing.names

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Tensor:
        name = self.names[index]
        return decode(Path(self.folder, name.decode() if isinstance(name, bytes) else name), upright=False)


def decoded_split(listing: Listing, size: int, root: Path, *, resize: bool = False) -> Split:
    """All images of a listing as one uint8 tensor, kept under `root` by content, decoder and size.

    A cache that cannot be written costs time at the next load and nothing else.

    Args:
        listing: the files.
        size: pixels of the square images.
        root: the data folder; the pixels are in its ``cache``.
        resize: resize images of another size, instead of refusing them.

    Raises:
        InputError: an image cannot be read, or is of another size and `resize` is not set.
    """
    labels = torch.tensor(listing.labels, dtype=torch.int64)
    shape = (len(labels), 3, size, size)
    cache = root / "cache" / f"pixels-{listing.digest(root)}-{_decoder()}-{size}{'-resized' if resize else ''}"
    cache = cache.with_name(f"{cache.name}.safetensors")
    images = _kept(cache)
    if images is not None and images.shape == shape and images.dtype == torch.uint8:
        return Split(images, labels)
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


def _decoder() -> str:
    """A hash of what turns a file into pixels: the decoder's source and Pillow's version."""
    import PIL

    return hashlib.sha256(f"{inspect.getsource(decoding)}{PIL.__version__}".encode()).hexdigest()[:8]


def _checksum(images: Tensor) -> str:
    return hashlib.sha256(cast("Any", images.numpy())).hexdigest()  # an array is a buffer


def _kept(cache: Path) -> Tensor | None:
    """The pixels of a cache file; None where it is missing or damaged."""
    try:
        with safe_open(cache, "pt") as file:
            images, checksum = file.get_tensor("images"), (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError, KeyError):
        return None
    return images if _checksum(images) == checksum else None


def _keep(images: Tensor, cache: Path) -> None:
    partial = cache.with_name(f"{cache.name}.{os.getpid()}.part")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        save_file({"images": images}, partial, {"sha256": _checksum(images)})
        share_as_new(partial)  # safetensors writes files that only their owner can read
        os.replace(partial, cache)
    except (OSError, SafetensorError):
        partial.unlink(missing_ok=True)
