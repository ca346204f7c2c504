"""Test-time augmentation: the mean of the probabilities of shifted and mirrored images."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from calbench.benchmark.backbones import DataConfig
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.variants._base import Draw, Forward, Variant, register
from calbench.datasets import Dataset
from calbench.methods import BackboneInfo, Outputs


@register("test-time-augmentation", label="TTA", paper="shanmugam2021tta")
@dataclass
class TestTimeAugmentation(Variant):
    """The mean of the probabilities of `n` versions of each image: itself first, then shifted and mirrored ones.

    Shifts and mirroring are those of the dataset's training augmentation unless the options say otherwise; what a
    shift uncovers is black, as in training. The random numbers are seeded by cell, split, pass and batch.

    Args:
        n: passes, the unchanged image included.
        padding: largest shift in pixels of the network's input, in either direction; the dataset's if it is not set.
        flip: whether half of the versions are mirrored; the dataset's default if it is not set.
    """

    __test__ = False  # not a test class, whatever pytest makes of its name

    n: Annotated[int, Field(ge=2)] = 8
    padding: Annotated[int, Field(ge=0)] | None = None
    flip: bool | None = None

    @property
    def passes(self) -> int:
        """The number of versions."""
        return self.n

    def check(self, backbone: BackboneInfo, dataset: Dataset) -> None:
        """Refuse a dataset without augmentation where the options name none."""
        if not (self._shift(dataset, dataset.image_size) or self._flips(dataset)):
            raise InputError(
                f"test-time-augmentation: {dataset.spelled()} declares no shift and no mirroring; set padding=1, say"
            )

    def _shift(self, dataset: Dataset, size: int) -> int:
        if self.padding is not None:
            return self.padding
        return round(dataset.crop_padding * size / dataset.image_size)

    def _flips(self, dataset: Dataset) -> bool:
        return dataset.horizontal_flip if self.flip is None else self.flip

    def wrap(self, forward: Forward, network: nn.Module, config: DataConfig, dataset: Dataset) -> Forward:
        """The forward pass on images that are shifted and mirrored in all passes but the first."""
        black = -torch.tensor(config.mean) / torch.tensor(config.std)
        shift, flip = self._shift(dataset, config.image_size), self._flips(dataset)

        def augmented(images: Tensor, draw: Draw) -> Outputs:
            if draw.pass_index:
                generator = draw.generator("test-time-augmentation")
                images = shifted_and_mirrored(images, black, shift, flip, generator)
            return forward(images, draw)

        return augmented


def shifted_and_mirrored(images: Tensor, black: Tensor, shift: int, flip: bool, generator: torch.Generator) -> Tensor:
    """Each image moved by up to `shift` pixels, and half of them mirrored.

    Args:
        images: (N, C, S, S), normalised.
        black: what is uncovered, per channel (C,), on the same scale.
        shift: largest shift in pixels.
        flip: whether to mirror.
        generator: a CPU generator.
    """
    count, _, height, width = images.shape
    fill = black.view(1, -1, 1, 1).to(images)
    padded = functional.pad(images - fill, (shift,) * 4) + fill
    corner = torch.randint(2 * shift + 1, (2, count), generator=generator).to(images.device)
    mirrored = (torch.rand(count, generator=generator) < 0.5).to(images.device) if flip else None
    rows = torch.arange(height, device=images.device)[None] + corner[0][:, None]
    columns = torch.arange(width, device=images.device)[None].expand(count, -1)
    if mirrored is not None:
        columns = torch.where(mirrored[:, None], width - 1 - columns, columns)
    columns = columns + corner[1][:, None]
    each = torch.arange(count, device=images.device)[:, None, None]
    return padded.movedim(1, -1)[each, rows[:, :, None], columns[:, None, :]].movedim(-1, 1).contiguous()
