"""Images and labels as arrays in one file."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor

from calbench.benchmark.core.errors import InputError
from calbench.datasets._local import LocalDataset
from calbench.datasets.base import Split, Splits, register
from calbench.datasets.io.arrays import read_npz
from calbench.datasets.io.content import State, digest_of, file_state

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
MOST_CHANNELS = 16
"""More is the sign of a wrong layout."""


@register("array-file", label="Array file")
@dataclass(kw_only=True)
class ArrayFile(LocalDataset):
    """An .npz or .safetensors file of ``train_images``, ``train_labels``, ``test_images`` and ``test_labels``.

    Images are uint8 in 0..255, or floats, in the `layout` given; (N, H, W) is grey in either. Labels are whole numbers
    in 0..`classes` - 1. Mean and standard deviation are those of the training images.
    """

    classes: Annotated[int, Field(ge=2)]
    layout: Literal["nchw", "nhwc"] = "nchw"
    crop_padding: Annotated[int, Field(ge=0)] = 0
    horizontal_flip: bool = False

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return self.classes

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return self._training_images.shape[1]

    @property
    def image_size(self) -> int:
        """Pixels."""
        return self._training_images.shape[-1]

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean per channel of the training images (8-bit images scaled to 0..1)."""
        return _statistics(self._training_images)[0]

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation per channel of the training images, on the same scale; at least a thousandth."""
        return _statistics(self._training_images)[1]

    def load(self, root: Path) -> Splits:
        """Read and check the file; `root` is not read."""
        return self._splits

    def fingerprint(self, root: Path) -> str:
        """The hash of the file's bytes."""
        return digest_of(root, [""], [self.path])

    @property
    def _splits(self) -> Splits:
        return _load(self.path, file_state(self.path), self.layout, self.classes)

    @property
    def _training_images(self) -> Tensor:
        return cast("Tensor", self._splits.train.images)


@lru_cache(maxsize=1)
def _load(path: Path, _state: State, layout: str, classes: int) -> Splits:
    arrays = _read(path)
    missing = [name for name in ARRAYS if name not in arrays]
    if missing:
        raise InputError(f"array file {path.name}: has no array {missing[0]!r}; expected {', '.join(ARRAYS)}")
    parts = ("train", "test")
    for part in parts:
        count = arrays[f"{part}_labels"].shape[:1]
        if count != arrays[f"{part}_images"].shape[:1] or count == (0,):
            raise InputError(f"array file {path.name}: {part}_images and {part}_labels are empty or differ in number")
    images = [_images(path, f"{part}_images", arrays[f"{part}_images"], layout) for part in parts]
    labels = [_labels(path, f"{part}_labels", arrays[f"{part}_labels"], classes) for part in parts]
    train, test = images
    if train.shape[1:] != test.shape[1:] or train.dtype != test.dtype:
        raise InputError(f"array file {path.name}: train_images and test_images differ in shape or type")
    return Splits(Split(train, labels[0]), Split(test, labels[1]))


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npz":
            with path.open("rb") as file:
                return {name: torch.from_numpy(array) for name, array in read_npz(file, ARRAYS).items()}
    except InputError as error:
        raise InputError(f"array file {path.name}: {error}") from None
    except Exception as error:  # a damaged file can fail anywhere in the readers
        raise InputError(f"array file {path.name}: cannot be read: {error}") from error
    raise InputError(f"array file {path.name}: expected .npz or .safetensors")


def _images(path: Path, name: str, images: Tensor, layout: str) -> Tensor:
    if images.dim() == 3:
        images = images[:, None]
    elif images.dim() == 4 and layout == "nhwc":
        images = images.permute(0, 3, 1, 2)
    if images.dim() != 4 or images.shape[2] != images.shape[3] or images.shape[1] > MOST_CHANNELS:
        shape = tuple(images.shape)
        raise InputError(f"array file {path.name}: {name} is no stack of square images in {layout}: shape {shape}")
    if images.dtype != torch.uint8:
        if not images.is_floating_point() or not torch.isfinite(images).all():
            raise InputError(f"array file {path.name}: {name} must be uint8, or floats without NaN and infinity")
        images = images.float()
    return images.contiguous()


def _labels(path: Path, name: str, labels: Tensor, classes: int) -> Tensor:
    if labels.dim() != 1 or labels.is_floating_point() or labels.is_complex():
        raise InputError(f"array file {path.name}: {name} must be one whole number an image")
    labels = labels.long()
    wrong = torch.nonzero((labels < 0) | (labels >= classes))
    if len(wrong):
        row = int(wrong[0])
        raise InputError(f"array file {path.name}: {name}[{row}] is {int(labels[row])}, outside 0..{classes - 1}")
    return labels


def _statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    scale = 255.0 if images.dtype == torch.uint8 else 1.0
    means, deviations = [], []
    for channel in images.unbind(1):
        values = channel.double() / scale
        means.append(round(float(values.mean()), 6))
        deviations.append(max(round(float(values.std(correction=0)), 6), 1e-3))
    return tuple(means), tuple(deviations)
