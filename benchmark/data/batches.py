"""Batches of images as network input, normalised and augmented on the device.

Sets that fit in memory lie on the device as they are stored (uint8, mostly) and are cropped, flipped, resized and
normalised there, a batch at a time; sets that do not fit stream through `calbench.benchmark.data.streaming`.
"""

import math
from collections.abc import Iterable, Iterator
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F

from calbench.benchmark.backbones import DataConfig
from calbench.benchmark.data import streaming
from calbench.datasets import Split

Batch = tuple[Tensor, Tensor]


class Transform:
    """Resize and normalise batches on the device.

    Args:
        config: the size and the statistics.
        dtype: of the images: uint8 images are scaled to 0..1 before they are normalised, float images are not.
        device: where the batches are.
    """

    def __init__(self, config: DataConfig, dtype: torch.dtype, device: torch.device) -> None:
        self.size = config.image_size
        self.interpolation = config.interpolation
        self.eight_bit = dtype == torch.uint8
        std = torch.tensor(config.std, dtype=torch.float64)
        mean = torch.tensor(config.mean, dtype=torch.float64)
        unit = 255.0 if self.eight_bit else 1.0
        self.scale = (1 / (unit * std)).float().view(1, -1, 1, 1).to(device)
        self.shift = (-mean / std).float().view(1, -1, 1, 1).to(device)

    def __call__(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) of the stored type to float32 (N, C, S, S), normalised."""
        images = images.float()
        if images.shape[-1] != self.size or images.shape[-2] != self.size:
            size = (self.size, self.size)
            images = F.interpolate(images, size, mode=self.interpolation, antialias=True, align_corners=False)
            if self.eight_bit:
                images = images.clamp_(0, 255)  # the bicubic kernel overshoots at edges
        return torch.addcmul(self.shift, images, self.scale)


def crop_and_flip(images: Tensor, offsets: Tensor | None, mirrored: Tensor | None, padding: int) -> Tensor:
    """Crop each image out of its zero-padded self, and mirror some.

    Args:
        images: (N, C, H, W).
        offsets: (2, N) row and column of the crop's corner, 0..2 padding each; None for no crop.
        mirrored: (N,) bool, or None for no mirroring.
        padding: pixels of zeros on each side.

    Returns:
        (N, C, H, W).
    """
    count, channels, height, width = images.shape
    rows = torch.arange(height, device=images.device).expand(count, height)
    columns = torch.arange(width, device=images.device).expand(count, width)
    if mirrored is not None:
        columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
    if offsets is not None:
        images = F.pad(images, (padding,) * 4)
        rows = rows + offsets[0][:, None]
        columns = columns + offsets[1][:, None]
    # One gather over flat pixels: several times faster than indexing with three index tensors.
    flat = rows[:, :, None] * images.shape[-1] + columns[:, None, :]
    index = flat.view(count, 1, -1).expand(count, channels, -1)
    return images.flatten(2).gather(2, index).view(count, channels, height, width)


class TrainBatches:
    """Shuffled, augmented training batches; each iteration is one epoch over all samples.

    The last batch may be smaller than the others; a single sample left over joins the batch before it, since batch
    normalisation and Mixup need two. Everything random is drawn from `generator` at the start of an epoch, so the
    state of the generator between epochs determines the rest of the sequence.

    Args:
        split: the images and labels.
        config: the network's input.
        batch_size: samples per batch.
        augment: whether to crop and mirror, as set in `config` (streamed sets: random resized crops).
        generator: a CPU generator.
        device: where the batches go.
        workers: processes that read a streamed set; None for one per core, at most eight.
        shard: (index, count): this process's part where several share every batch.
    """

    def __init__(
        self,
        split: Split,
        config: DataConfig,
        batch_size: int,
        augment: bool,
        generator: torch.Generator,
        device: torch.device | str,
        *,
        workers: int | None = None,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        self.split = split
        self.config = config
        self.batch_size = batch_size
        self.generator = generator
        self.device = torch.device(device)
        self.workers = workers
        self.shard = shard
        self.augment = augment
        self.labels = split.labels.to(self.device)
        self.resident = isinstance(split.images, Tensor)
        self.images = cast("Tensor", split.images).to(self.device) if self.resident else None
        dtype = cast("Tensor", split.images).dtype if self.resident else torch.uint8
        self.transform = Transform(config, dtype, self.device)

    def __len__(self) -> int:
        """Batches an epoch."""
        return len(batch_sizes(len(self.split), self.batch_size))

    def __iter__(self) -> Iterator[Batch]:
        """Yield images (n, C, S, S) float32 and labels (n,) int64, both on the device."""
        count = len(self.split)
        order = torch.randperm(count, generator=self.generator)
        index, shards = self.shard
        chunks = [part[index::shards] for part in order.split(batch_sizes(count, self.batch_size))]
        return self._resident_epoch(chunks) if self.resident else self._streamed_epoch(chunks)

    def _resident_epoch(self, chunks: list[Tensor]) -> Iterator[Batch]:
        # Sampled for all samples at once and indexed by sample, so that the number of shards does not matter.
        offsets, mirrored = self._draw(len(self.split))
        for chunk in chunks:
            chosen = chunk.to(self.device, non_blocking=True)
            images = cast("Tensor", self.images).index_select(0, chosen)
            if offsets is not None or mirrored is not None:
                corner = offsets.index_select(1, chosen) if offsets is not None else None
                flips = mirrored.index_select(0, chosen) if mirrored is not None else None
                images = crop_and_flip(images, corner, flips, self.config.crop_padding)
            yield self.transform(images), self.labels.index_select(0, chosen)

    def _draw(self, count: int) -> tuple[Tensor | None, Tensor | None]:
        padding, offsets, mirrored = self.config.crop_padding, None, None
        if self.augment and padding:
            offsets = torch.randint(2 * padding + 1, (2, count), generator=self.generator).to(self.device)
        if self.augment and self.config.horizontal_flip:
            mirrored = (torch.rand(count, generator=self.generator) < 0.5).to(self.device)
        return offsets, mirrored

    def _streamed_epoch(self, chunks: list[Tensor]) -> Iterator[Batch]:
        seed = int(torch.randint(2**62, (), generator=self.generator))
        chosen = streaming.TrainView(self.split.images, self.config, seed) if self.augment else None
        view = chosen or streaming.EvalView(self.split.images, self.config)
        loader = streaming.loader(view, chunks, self.workers, self.device)
        for images, chunk in zip(loader, chunks, strict=True):
            yield self.transform(images.to(self.device, non_blocking=True)), self.labels[chunk.to(self.device)]


class EvalBatches:
    """Batches in the order of the split, without augmentation.

    Args:
        split: the images and labels.
        config: the network's input.
        batch_size: samples per batch.
        device: where the batches go.
        workers: processes that read a streamed set; None for one per core, at most eight.
    """

    def __init__(
        self,
        split: Split,
        config: DataConfig,
        batch_size: int,
        device: torch.device | str,
        *,
        workers: int | None = None,
    ) -> None:
        self.split = split
        self.config = config
        self.batch_size = batch_size
        self.device = torch.device(device)
        self.workers = workers

    def __len__(self) -> int:
        """Number of batches."""
        return math.ceil(len(self.split) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield images (n, C, S, S) float32 and labels (n,) int64, both on the device."""
        images = self.split.images
        resident = isinstance(images, Tensor)
        transform = Transform(self.config, images.dtype if resident else torch.uint8, self.device)
        if resident:
            parts: Iterable[Tensor] = images.split(self.batch_size)
        else:
            view = streaming.EvalView(images, self.config)
            chunks = list(torch.arange(len(self.split)).split(self.batch_size))
            parts = streaming.loader(view, chunks, self.workers, self.device)
        labels = self.split.labels.split(self.batch_size)
        for part, target in zip(parts, labels, strict=True):
            yield transform(part.to(self.device, non_blocking=True)), target.to(self.device, non_blocking=True)


def batch_sizes(count: int, batch_size: int) -> list[int]:
    """Sizes of the batches of one epoch; they add up to `count`."""
    sizes = [batch_size] * (count // batch_size)
    rest = count % batch_size
    if rest == 1 and sizes:
        sizes[-1] += 1
    elif rest:
        sizes.append(rest)
    return sizes
