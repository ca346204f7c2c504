"""Image sets that do not fit in memory: decoded, cropped and resized by worker processes."""

from collections.abc import Sequence
from typing import Any

import joblib
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from calbench.benchmark.backbones import DataConfig
from calbench.benchmark.core.seeds import seed_for

CROP_AREA = (0.08, 1.0)
"""Share of the image's area that a random resized crop covers (Szegedy 2015; timm's and torchvision's default)."""


class TrainView(Dataset):
    """Random resized crops, mirrored at random: uint8 (C, S, S) of one size from images of any size.

    The crop of a sample depends only on the epoch's `seed` and its index, so it is the same for any number of workers.
    """

    def __init__(self, images: Any, config: DataConfig, seed: int) -> None:
        from torchvision.transforms import v2

        self.images = images
        self.seed = seed
        self.random_crop = v2.RandomResizedCrop(
            config.image_size, scale=CROP_AREA, interpolation=_mode(config), antialias=True
        )
        self.mirror = v2.RandomHorizontalFlip(0.5 if config.horizontal_flip else 0.0)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        image = self.images[index]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for(self.seed, "crop", index))
            return self.mirror(self.random_crop(image))


class EvalView(Dataset):
    """The central crop: the shorter side is resized to size / crop fraction, then the centre is cut out."""

    def __init__(self, images: Any, config: DataConfig) -> None:
        from torchvision.transforms import v2

        self.images = images
        resized = round(config.image_size / config.crop_fraction)
        self.transform = v2.Compose(
            [v2.Resize(resized, interpolation=_mode(config), antialias=True), v2.CenterCrop(config.image_size)]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(self.images[index])


def _mode(config: DataConfig) -> Any:
    from torchvision.transforms import InterpolationMode

    return InterpolationMode(config.interpolation)


def loader(view: Dataset, chunks: Sequence[Tensor], workers: int | None, device: torch.device) -> DataLoader:
    """A loader that gives the images of each of `chunks` (index tensors) as one batch, in order."""
    if workers is None:
        workers = min(8, joblib.cpu_count())
    return DataLoader(
        view,
        batch_sampler=[chunk.tolist() for chunk in chunks],
        num_workers=workers,
        pin_memory=device.type == "cuda",
        prefetch_factor=4 if workers else None,
    )
