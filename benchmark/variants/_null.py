"""Null images: the pixels, patches or statistics of an image without its structure."""

from typing import Literal

import torch
from torch import Tensor

Null = Literal["pixel", "patch", "noise"]


def null_images(images: Tensor, null: Null, patch: tuple[int, int], generator: torch.Generator) -> Tensor:
    """One null image per image.

    Args:
        images: (N, C, H, W).
        null: ``pixel`` resamples the pixels of each image with replacement (all channels together), ``patch`` its
            patches; ``noise`` is Gaussian with the mean and the standard deviation of each channel of the image.
        patch: height and width of a patch, in pixels.
        generator: a CPU generator.

    Returns:
        (N, C, H, W).
    """
    if null == "noise":
        noise = torch.randn(images.shape, generator=generator).to(images)
        return images.mean((2, 3), keepdim=True) + noise * images.std((2, 3), correction=0, keepdim=True)
    height, width = (1, 1) if null == "pixel" else patch
    count, channels, rows, columns = images.shape
    grid = images.unfold(2, height, height).unfold(3, width, width)  # (N, C, R, S, height, width)
    tiles = grid.permute(0, 2, 3, 1, 4, 5).flatten(1, 2)  # (N, R S, C, height, width)
    chosen = torch.randint(tiles.shape[1], tiles.shape[:2], generator=generator).to(images.device)
    drawn = tiles[torch.arange(count, device=images.device)[:, None], chosen]
    shape = (count, rows // height, columns // width, channels, height, width)
    return drawn.view(shape).permute(0, 3, 1, 4, 2, 5).reshape(count, channels, rows, columns)
