"""MNIST and Fashion-MNIST in the IDX format."""

import gzip
import math
import struct
import zlib
from abc import ABC
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from calbench.benchmark.core.errors import InputError
from calbench.datasets.base import Dataset, Split, Splits, register
from calbench.datasets.io.download import RemoteFile, ensure_files

_UINT8 = 0x08


@dataclass
class IDXDataset(Dataset, ABC):
    """Base of both: 60,000 training and 10,000 test images of 28 x 28 grey pixels, trained without augmentation."""

    num_classes = 10
    channels = 1
    image_size = 28

    torchvision_class: ClassVar[str]

    def load(self, root: Path) -> Splits:
        """Load from torchvision's layout under `root`, fetching the files that are missing."""
        source = self._source()
        files = [
            RemoteFile(f"{self.torchvision_class}/raw/{name}", md5, tuple(mirror + name for mirror in source.mirrors))
            for name, md5 in source.resources
        ]
        paths = ensure_files(root, self.spec.name, files)
        tensors = [read_idx(path) for path in paths]
        for images, labels, path in zip(tensors[::2], tensors[1::2], paths[::2], strict=True):
            if images.dim() != 3 or labels.shape != images.shape[:1]:
                shapes = f"{tuple(images.shape)} and labels of {tuple(labels.shape)}"
                raise InputError(
                    f"{self.spec.name}: {path.name} has images of shape {shapes}; expected (N, H, W) and (N,)"
                )
        train, test = (Split(tensors[i][:, None], tensors[i + 1].long()) for i in (0, 2))
        return Splits(train, test)

    def num_samples(self, root: Path) -> tuple[int, int]:
        """The published sizes."""
        return 60_000, 10_000

    def fingerprint(self, root: Path) -> str:
        """A constant, since every load checks the published checksums."""
        return f"{self.spec.name}-idx"

    def _source(self) -> Any:
        """The class of torchvision that knows addresses and checksums, in the order train, test."""
        import torchvision.datasets

        return getattr(torchvision.datasets, self.torchvision_class)


def read_idx(path: Path) -> Tensor:
    """Read a gzipped IDX file of unsigned bytes.

    Raises:
        InputError: the file is damaged or of another type.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
        zero, kind, dimensions = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
    except (OSError, EOFError, struct.error, ValueError, zlib.error) as error:
        raise InputError(f"{path.name}: cannot be read: {error}") from error
    start = 4 + 4 * dimensions
    if zero != 0 or kind != _UINT8 or dimensions == 0 or len(content) - start != math.prod(shape):
        raise InputError(f"{path.name}: no IDX file of bytes, or cut short")
    return torch.frombuffer(bytearray(content[start:]), dtype=torch.uint8).view(shape)


@register("mnist", label="MNIST", paper="lecun1998gradient")
@dataclass
class MNIST(IDXDataset):
    """MNIST: handwritten digits."""

    mean = (0.1307,)
    std = (0.3081,)
    torchvision_class = "MNIST"


@register("fashion-mnist", label="Fashion-MNIST", paper="xiao2017fashion")
@dataclass
class FashionMNIST(IDXDataset):
    """Fashion-MNIST: articles of clothing."""

    mean = (0.2860,)
    std = (0.3530,)
    torchvision_class = "FashionMNIST"
