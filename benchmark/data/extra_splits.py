"""Loads the images of further test splits: corrupted, published as shifted, or out-of-distribution."""

import dataclasses
from functools import singledispatch
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset as StreamedImages

from calbench.benchmark.backbones import DataConfig
from calbench.benchmark.config.cell import Cell
from calbench.benchmark.config.extra_splits import (
    Corrupted,
    CorruptedPatch,
    ExtraSplit,
    HeldOut,
    OutOfDistribution,
    Published,
)
from calbench.benchmark.corruptions import corrupt
from calbench.benchmark.data.splits import prepare_data
from calbench.datasets import Dataset, Split, stratified_subset
from calbench.datasets.without_classes import WithoutClasses

_RESIZED = 256 / 224
"""Streamed images are cropped as the authors of ImageNet-C do: the shorter side to 256, then the central 224."""


def load_extra(extra: ExtraSplit, cell: Cell, root: Path) -> tuple[Split, DataConfig]:
    """The images and labels of a further split, and how they become the network's input.

    Args:
        extra: which split.
        cell: whose networks predict it.
        root: folder of downloaded datasets.

    Raises:
        InputError: files are missing or damaged; the message says what to do.
    """
    return _load(extra, cell, root.expanduser())


@singledispatch
def _load(extra: Any, cell: Cell, root: Path) -> tuple[Split, DataConfig]:
    raise TypeError(f"{type(extra).__name__} is no split that can be loaded")


@_load.register
def _(extra: Corrupted, cell: Cell, root: Path) -> tuple[Split, DataConfig]:
    data = prepare_data(cell, root)
    split = stratified_subset(data.evaluated["calibration" if extra.calibration else "test"], extra.images)
    options = {"name": extra.corruption, "severity": extra.severity, "seed": extra.seed, "scale": extra.scale}
    if isinstance(split.images, Tensor):
        images = corrupt(split.images, value_range=_range(split.images), **options)
        return Split(images, split.labels), data.config
    streamed = CorruptedImages(split.images, cell.dataset.image_size, options)
    return Split(streamed, split.labels), dataclasses.replace(data.config, crop_fraction=1.0)


@_load.register
def _(extra: CorruptedPatch, cell: Cell, root: Path) -> tuple[Split, DataConfig]:
    data = prepare_data(cell, root)
    split = data.evaluated["test"]
    options = {"name": extra.corruption, "severity": extra.severity, "seed": extra.seed, "scale": extra.scale}
    area = patch_area(cell.dataset.image_size, extra.grid, extra.position)
    if isinstance(split.images, Tensor):
        images = split.images.clone()
        images[:, :, *area] = corrupt(split.images, value_range=_range(split.images), **options)[:, :, *area]
        return Split(images, split.labels), data.config
    streamed = CorruptedImages(split.images, cell.dataset.image_size, options, area)
    return Split(streamed, split.labels), dataclasses.replace(data.config, crop_fraction=1.0)


@_load.register
def _(extra: Published, cell: Cell, root: Path) -> tuple[Split, DataConfig]:
    config = cell.backbone.data_config(cell.dataset)
    split = extra.shifted.load(extra.part, cell.dataset, root)
    if extra.shifted.already_cropped:
        config = dataclasses.replace(config, crop_fraction=1.0)
    return split, config


@_load.register
def _(extra: OutOfDistribution, cell: Cell, root: Path) -> tuple[Split, DataConfig]:
    like = prepare_data(cell, root).evaluated["test"]
    split = extra.dataset.load(root).test
    return converted(split, cell.dataset, like), cell.backbone.data_config(cell.dataset)


@_load.register
def _(extra: HeldOut, cell: Cell, root: Path) -> tuple[Split, DataConfig]:
    dataset = cell.dataset
    if not isinstance(dataset, WithoutClasses):
        raise TypeError(f"{dataset.spelled()} has no held-out classes")
    return dataset.load_held_out(root), cell.backbone.data_config(dataset)


def patch_area(image_size: int, grid: int, position: int) -> tuple[slice, slice]:
    """Rows and columns of one patch of a square grid, counted row by row."""
    side = image_size // grid
    row, column = divmod(position, grid)
    return slice(row * side, (row + 1) * side), slice(column * side, (column + 1) * side)


def _range(images: Tensor) -> tuple[float, float]:
    """What black and white are of float images: the least and the largest value of the split."""
    if images.dtype == torch.uint8:
        return 0.0, 1.0
    low, high = images.min().item(), images.max().item()
    return low, high if high > low else low + 1.0


class CorruptedImages(StreamedImages):
    """Streamed images, cropped to one size and corrupted one by one, by the worker that reads them.

    Args:
        images: map-style dataset of uint8 images (3, H, W).
        size: of the central crop, in pixels.
        options: of `corrupt`.
        area: rows and columns that are corrupted; None for the whole image.
    """

    def __init__(
        self, images: Any, size: int, options: dict[str, Any], area: tuple[slice, slice] | None = None
    ) -> None:
        from torchvision.transforms import v2

        self.images = images
        self.options = options
        self.area = area
        self.crop = v2.Compose([v2.Resize(round(size * _RESIZED), antialias=True), v2.CenterCrop(size)])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        image = self.crop(self.images[index])
        changed = corrupt(image[None], indices=[index], **self.options)[0]
        if self.area is None:
            return changed
        image[:, *self.area] = changed[:, *self.area]
        return image


def converted(split: Split, dataset: Dataset, like: Split) -> Split:
    """Images of another dataset with the size, channels and type of those of `dataset`.

    Args:
        split: of the other dataset.
        dataset: what networks were trained on.
        like: a split of `dataset`.
    """
    if not isinstance(split.images, Tensor):
        return Split(ConvertedImages(split.images, dataset.channels), split.labels)
    images = with_channels(split.images, dataset.channels)
    as_bytes = not isinstance(like.images, Tensor) or like.images.dtype == torch.uint8
    if images.shape[-1] != dataset.image_size or images.shape[-2] != dataset.image_size:
        size, eight_bit = (dataset.image_size, dataset.image_size), images.dtype == torch.uint8
        parts = [
            functional.interpolate(part.float(), size, mode="bilinear", antialias=True, align_corners=False)
            for part in images.split(1024)
        ]
        images = torch.cat(parts)
        images = images.round_().clamp_(0, 255).to(torch.uint8) if eight_bit else images
    if as_bytes and images.dtype != torch.uint8:
        images = images.clamp(0, 1).mul_(255).round_().to(torch.uint8)
    elif not as_bytes and images.dtype == torch.uint8:
        images = images.float() / 255
    return Split(images, split.labels)


def with_channels(images: Tensor, channels: int) -> Tensor:
    """Grey images (..., 1, H, W) as RGB, or RGB as grey (its luma), in their own type."""
    if images.shape[-3] == channels:
        return images
    if images.shape[-3] == 1:
        return images.expand(*images.shape[:-3], channels, *images.shape[-2:])
    luma = images.new_tensor([0.299, 0.587, 0.114], dtype=torch.float32).view(-1, 1, 1)
    grey = (images.float() * luma).sum(dim=-3, keepdim=True)
    return grey.round_().to(images.dtype) if images.dtype == torch.uint8 else grey


class ConvertedImages(StreamedImages):
    """Streamed images with another number of channels."""

    def __init__(self, images: Any, channels: int) -> None:
        self.images = images
        self.channels = channels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return with_channels(self.images[index], self.channels)
