"""Linear operators on images: filters and resizing as matrices over rows and columns, kernels, and motion blur."""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

_MOST_TAPS = 25


def separable(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``rows @ image @ columns.T`` of every channel: images (N, C, H, W), rows (A, H), columns (B, W)."""
    return rows @ (images @ columns.T)


@lru_cache(maxsize=64)
def gaussian_matrix(
    size: int, sigma: float, mode: Literal["nearest", "reflect"] = "nearest", truncate: float = 4.0
) -> Tensor:
    """The Gaussian filter of `scipy.ndimage` along one axis of `size` pixels, as a matrix (size, size)."""
    if sigma == 0:
        return torch.eye(size)
    filtered = ndimage.gaussian_filter1d(np.eye(size), sigma, axis=0, mode=mode, truncate=truncate)
    return torch.from_numpy(filtered).float()


def gaussian_blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of images (N, C, H, W), edges repeated, the kernel cut off at four sigma."""
    height, width = images.shape[-2:]
    return separable(images, gaussian_matrix(height, sigma), gaussian_matrix(width, sigma))


@lru_cache(maxsize=512)
def zoom_matrix(size: int, factor: float) -> Tensor:
    """Enlarge the centre of one axis by `factor` and cut it to `size` again, linear interpolation: (size, size)."""
    kept = math.ceil(size / factor)
    first = (size - kept) // 2
    enlarged = ndimage.zoom(np.eye(kept), (factor, 1), order=1)
    trim = (len(enlarged) - size) // 2
    matrix = np.zeros((size, size))
    matrix[:, first : first + kept] = enlarged[trim : trim + size]
    return torch.from_numpy(matrix).float()


@lru_cache(maxsize=64)
def box_matrix(size: int, target: int) -> Tensor:
    """Pillow's box filter from `size` to `target` pixels along one axis, as a matrix (target, size)."""
    columns = Image.fromarray(np.eye(size, dtype=np.float32)).resize((target, size), Image.Resampling.BOX)
    return torch.from_numpy(np.array(columns)).T.contiguous()


@lru_cache(maxsize=64)
def disk_kernel(radius: float, alias_sigma: float) -> Tensor:
    """A disk of `radius` pixels, smoothed at its edge by a small Gaussian: (k, k), sum about 1."""
    reach = 8 if radius <= 8 else math.ceil(radius)
    line = np.arange(-reach, reach + 1)
    disk = (line[:, None] ** 2 + line[None, :] ** 2 <= radius**2).astype(np.float64)
    taps = np.arange(3 if radius <= 8 else 5)
    weights = np.exp(-((taps - (len(taps) - 1) / 2) ** 2) / (2 * alias_sigma**2))
    weights /= weights.sum()
    for axis in (0, 1):
        disk = ndimage.correlate1d(disk / disk.sum(), weights, axis=axis, mode="mirror")
    used = np.flatnonzero(disk.sum(axis=0) > 0)
    return torch.from_numpy(disk[used[0] : used[-1] + 1, used[0] : used[-1] + 1]).float()


def correlate(images: Tensor, kernel: Tensor) -> Tensor:
    """Correlate every channel of images (N, C, H, W) with one kernel (k, k), mirrored at the edges."""
    (height, width), reach = images.shape[-2:], len(kernel) // 2
    padded = mirrored(images, reach)
    if kernel.numel() > _MOST_TAPS:
        return functional.conv2d(padded.flatten(0, 1)[:, None], kernel[None, None]).view(images.shape)
    result = torch.zeros_like(images)  # a small kernel: sums of shifted images are several times faster
    for y, row in enumerate(kernel.tolist()):
        for x, weight in enumerate(row):
            if weight:
                result.add_(padded[..., y : y + height, x : x + width], alpha=weight)
    return result


def mirrored(images: Tensor, reach: int) -> Tensor:
    """Images with `reach` pixels more on every side, mirrored about the outermost pixels, however small they are."""
    height, width = images.shape[-2:]
    if reach < min(height, width):
        return functional.pad(images, (reach,) * 4, mode="reflect")
    rows, columns = (_mirror_indices(size, reach) for size in (height, width))
    return images[..., rows, :][..., columns]


def _mirror_indices(size: int, reach: int) -> Tensor:
    period = max(1, 2 * (size - 1))
    positions = torch.arange(-reach, size + reach) % period
    return torch.minimum(positions, period - positions)


@lru_cache(maxsize=64)
def motion_weights(radius: int, sigma: float) -> tuple[float, ...]:
    """ImageMagick's weights of a motion blur: half a Gaussian over 2 radius + 1 pixels, sum 1."""
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    return tuple(weights / weights.sum())


def motion_blur(images: Tensor, radius: int, sigma: float, angles: Tensor) -> Tensor:
    """Blur each image along a line at its own angle, as ImageMagick does.

    Args:
        images: (N, C, H, W) in 0..1.
        radius: of the kernel, in pixels.
        sigma: of the kernel, in pixels.
        angles: (N,) in degrees, clockwise from the x axis.

    Returns:
        (N, C, H, W), rounded to 8 bits as ImageMagick returns it; pixels outside are those of the nearest edge.
    """
    count, channels, height, width = images.shape
    radians = torch.deg2rad(angles.double())
    rows, columns = torch.arange(height), torch.arange(width)
    flat, result = images.flatten(2), torch.zeros_like(images).flatten(2)
    for step, weight in enumerate(motion_weights(radius, sigma)):
        if weight < 1e-5:  # less than a hundredth of a grey level
            continue
        down = torch.ceil(step * torch.sin(radians) - 0.5).long()
        right = torch.ceil(step * torch.cos(radians) - 0.5).long()
        y = (rows + down[:, None]).clamp_(0, height - 1)
        x = (columns + right[:, None]).clamp_(0, width - 1)
        index = (y[:, :, None] * width + x[:, None, :]).view(count, 1, -1).expand(-1, channels, -1)
        result.add_(flat.gather(2, index), alpha=weight)
    return result.view_as(images).mul_(255).round_().div_(255)
