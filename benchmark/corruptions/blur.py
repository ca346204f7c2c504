"""Blur corruptions: defocus, glass, motion, zoom and Gaussian."""

import numpy as np
import torch
from torch import Tensor

from calbench.benchmark.corruptions._draws import Draws
from calbench.benchmark.corruptions._operators import (
    correlate,
    disk_kernel,
    gaussian_blur,
    motion_blur,
    separable,
    zoom_matrix,
)
from calbench.benchmark.corruptions.base import Corruption, register

PAPER = "hendrycks2019corruptions"


@register("defocus-blur", label="Defocus blur", paper=PAPER)
class DefocusBlur(Corruption):
    """Correlation with a disk whose edge is smoothed."""

    family = "blur"
    small = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))
    large = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))

    def apply(self, images: Tensor, constants: tuple[float, float], draws: Draws) -> Tensor:
        """Corrupt; the constants are the radius of the disk and the sigma of its smoothing."""
        return correlate(images, disk_kernel(*constants))


@register("glass-blur", label="Glass blur", paper=PAPER)
class GlassBlur(Corruption):
    """A Gaussian blur, every pixel replaced by one of its neighbours, and the blur again.

    The authors' loop means to swap two pixels; on colour images its assignment copies the neighbour instead, and their
    files were made so. It goes from the last pixel to the first, so that a copy may take up an earlier copy.
    """

    family = "blur"
    small = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
    large = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))

    def apply(self, images: Tensor, constants: tuple[float, int, int], draws: Draws) -> Tensor:
        """Corrupt; the constants are the blur's sigma, the reach of the shuffling and how often it is done."""
        sigma, reach, rounds = constants
        blurred = gaussian_blur(images, sigma).mul_(255).add_(1e-3).floor_().div_(255)
        for _ in range(rounds):
            blurred = _shuffled(blurred, reach, draws)
        return gaussian_blur(blurred, sigma)


def _shuffled(images: Tensor, reach: int, draws: Draws) -> Tensor:
    """Replace every pixel but those at the edge by one up to `reach` pixels away."""
    count, channels, height, width = images.shape
    rows, columns = (torch.arange(reach + 1, max(reach + 1, size - reach + 1)) for size in (height, width))
    rows, columns = rows[rows < height], columns[columns < width]
    shift = draws.integers(2, len(rows), len(columns), low=-reach, high=reach)
    y = (rows[:, None] + shift[:, 0]).clamp_(0, height - 1)
    x = (columns + shift[:, 1]).clamp_(0, width - 1)
    place = torch.arange(height * width).view(height, width)
    source = place.repeat(count, 1, 1)
    source[:, rows[:, None], columns] = y * width + x
    if reach > 1:  # with a reach of 1 every source comes later in the loop, and is still as it was
        source = _resolved(source, place, rows, columns)
    index = source.view(count, 1, -1).expand(-1, channels, -1)
    return images.flatten(2).gather(2, index).view_as(images)


def _resolved(source: Tensor, place: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Where each pixel's value comes from in the end, as later pixels are copied first: (N, H, W).

    A source with a larger number has its final value already, so the way goes on from there. Two nodes a pixel, its
    value before and after the loop; ways of doubled length until none gets longer.
    """
    size = place.numel()
    inner = torch.zeros(size, dtype=torch.bool)
    inner[place[rows[:, None], columns].flatten()] = True
    flat = source.flatten(1)
    goes_on = inner[flat] & (flat > place.flatten())
    before = torch.arange(size, 2 * size).expand(len(flat), -1)
    step = torch.cat([torch.where(goes_on, flat, flat + size), before], dim=1)
    while True:
        further = step.gather(1, step)
        if torch.equal(further, step):
            return (step[:, :size] - size).view_as(source)
        step = further


@register("motion-blur", label="Motion blur", paper=PAPER)
class MotionBlur(Corruption):
    """Half a Gaussian along a line, at an angle of -45 to 45 degrees."""

    family = "blur"
    small = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))
    large = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))

    def apply(self, images: Tensor, constants: tuple[int, float], draws: Draws) -> Tensor:
        """Corrupt; the constants are the kernel's radius and sigma."""
        return motion_blur(images, *constants, draws.uniform(1, low=-45, high=45).squeeze(1))


def _zooms(last: float, step: float) -> tuple[float, ...]:
    return tuple(np.arange(1, last, step).tolist())


@register("zoom-blur", label="Zoom blur", paper=PAPER)
class ZoomBlur(Corruption):
    """The mean of the image and of its centre enlarged more and more."""

    family = "blur"
    small = (_zooms(1.06, 0.01), _zooms(1.11, 0.01), _zooms(1.16, 0.01), _zooms(1.21, 0.01), _zooms(1.26, 0.01))
    large = (_zooms(1.11, 0.01), _zooms(1.16, 0.01), _zooms(1.21, 0.02), _zooms(1.26, 0.02), _zooms(1.31, 0.03))

    def apply(self, images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
        """Corrupt; the constants are the factors."""
        height, width = images.shape[-2:]
        total = images.clone()
        for factor in constants:
            total += separable(images, zoom_matrix(height, factor), zoom_matrix(width, factor))
        return total.div_(len(constants) + 1)


@register("gaussian-blur", label="Gaussian blur", paper=PAPER)
class GaussianBlur(Corruption):
    """Correlation with a Gaussian."""

    family = "blur"
    extra = True
    small = (0.4, 0.6, 0.7, 0.8, 1)
    large = (1, 2, 3, 4, 6)

    def apply(self, images: Tensor, constants: float, draws: Draws) -> Tensor:
        """Corrupt; the constant is sigma in pixels."""
        return gaussian_blur(images, constants)
