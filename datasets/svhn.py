"""Street View House Numbers, cropped digits."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from calbench.benchmark.core.errors import InputError
from calbench.datasets.base import Dataset, Split, Splits, register
from calbench.datasets.io.download import RemoteFile, ensure_files


@register("svhn", label="SVHN", paper="netzer2011svhn")
@dataclass
class SVHN(Dataset):
    """SVHN: digits of house numbers, 73,257 training and 26,032 test images of 32 x 32 pixels; never mirrored."""

    num_classes = 10
    channels = 3
    image_size = 32
    mean = (0.4377, 0.4438, 0.4728)
    std = (0.1980, 0.2010, 0.1970)
    crop_padding = 4

    def load(self, root: Path) -> Splits:
        """Load MATLAB files under `root`, fetching those that are missing."""
        from torchvision.datasets import SVHN as SOURCE

        listed = [SOURCE.split_list[split] for split in ("train", "test")]
        files = [RemoteFile(name, md5, (url,)) for url, name, md5 in listed]
        train, test = map(_read, ensure_files(root, self.spec.name, files))
        return Splits(train, test)

    def num_samples(self, root: Path) -> tuple[int, int]:
        """The published sizes."""
        return 73_257, 26_032

    def fingerprint(self, root: Path) -> str:
        """A constant, since every load checks the published checksums."""
        return "svhn-32x32"


def _read(path: Path) -> Split:
    from scipy.io import loadmat

    try:
        content = loadmat(path)
        images, labels = content["X"], content["y"].astype(np.int64).ravel()
    except Exception as error:  # a damaged file can fail anywhere in the reader
        raise InputError(f"svhn: {path.name} cannot be read: {error}") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[2] != 3 or images.shape[3] != len(labels):
        shapes = f"{images.dtype} images of shape {images.shape} and {len(labels)} labels"
        raise InputError(f"svhn: {path.name} has {shapes}; expected uint8 (32, 32, 3, N) and N")
    pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(3, 2, 0, 1)))
    return Split(pixels, torch.from_numpy(labels % 10))  # the file calls the digit 0 "10"
