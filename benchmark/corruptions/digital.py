"""Digital corruptions: contrast, elastic transform, pixelation, JPEG and saturation."""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from calbench.benchmark.corruptions._draws import Draws
from calbench.benchmark.corruptions._operators import box_matrix, gaussian_matrix, separable
from calbench.benchmark.corruptions.base import Corruption, register

PAPER = "hendrycks2019corruptions"


@register("contrast", label="Contrast", paper=PAPER)
class Contrast(Corruption):
    """m + c (x - m), m the mean of each channel."""

    family = "digital"
    small = (0.75, 0.5, 0.4, 0.3, 0.15)
    large = (0.4, 0.3, 0.2, 0.1, 0.05)

    def apply(self, images: Tensor, constants: float, draws: Draws) -> Tensor:
        """Corrupt; the constant is c."""
        mean = images.mean(dim=(2, 3), keepdim=True)
        return (images - mean).mul_(constants).add_(mean)


@register("elastic-transform", label="Elastic transform", paper=PAPER)
class ElasticTransform(Corruption):
    """A random affine map and a smooth random displacement of every pixel.

    The constants are shares of the image size: the strength and smoothness of the displacement, and how far the three
    points move that define the affine map.
    """

    family = "digital"
    small = ((0, 0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    large = ((2, 0.7, 0.1), (2, 0.08, 0.2), (0.05, 0.01, 0.02), (0.07, 0.01, 0.02), (0.12, 0.01, 0.02))

    def constants(self, severity: int, scale: Any) -> tuple[float, ...]:
        """The constants of one severity; the authors' 224-pixel generator computes with 244 for the size."""
        enlarged = 244 / 224 if scale == 224 else 1.0
        return tuple(share * enlarged for share in super().constants(severity, scale))

    def apply(self, images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
        """Corrupt, by bilinear interpolation, mirrored at the edges."""
        height, width = images.shape[-2:]
        strength, smoothness, distance = (share * min(height, width) for share in constants)
        images = _affine(images, draws.uniform(3, 2, low=-distance, high=distance))
        if strength == 0:
            return images
        shift = draws.uniform(2, height, width, low=-1, high=1)
        rows, columns = (gaussian_matrix(size, smoothness, "reflect", 3.0) for size in (height, width))
        dx, dy = separable(shift, rows, columns).mul_(strength).unbind(1)
        x, y = torch.arange(width) + dx, torch.arange(height)[:, None] + dy
        grid = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)
        return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _affine(images: Tensor, moves: Tensor) -> Tensor:
    """Map three points around the centre to the points moved by `moves` (N, 3, 2), and the rest with them."""
    height, width = images.shape[-2:]
    reach, centre = min(height, width) // 3, torch.tensor([height // 2, width // 2])
    corners = torch.stack([centre + reach, centre + torch.tensor([reach, -reach]), centre - reach]).double()
    ones = torch.ones(len(images), 3, 1, dtype=torch.float64)
    moved = torch.cat([corners + moves.double(), ones], dim=2)
    # Where each output pixel comes from: the map from the moved points back.
    back = torch.linalg.lstsq(moved, corners.expand(len(images), -1, -1)).solution
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1).double().view(-1, 3)
    source = (pixels @ back).view(len(images), height, width, 2)
    span = torch.tensor([max(width - 1, 1), max(height - 1, 1)])
    grid = (2 * source / span - 1).float()
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=True)


@register("pixelate", label="Pixelate", paper=PAPER)
class Pixelate(Corruption):
    """The image at a share c of its size, and back, by a box filter."""

    family = "digital"
    small = (0.95, 0.9, 0.85, 0.75, 0.65)
    large = (0.6, 0.5, 0.4, 0.3, 0.25)

    def apply(self, images: Tensor, constants: float, draws: Draws) -> Tensor:
        """Corrupt; the constant is c. Rounded to 8 bits after either axis, as Pillow does."""
        height, width = images.shape[-2:]
        low, narrow = max(1, int(height * constants)), max(1, int(width * constants))
        small = _rounded(images @ box_matrix(width, narrow).T)
        small = _rounded(box_matrix(height, low) @ small)
        return separable(small, box_matrix(low, height), box_matrix(narrow, width))


def _rounded(images: Tensor) -> Tensor:
    return images.mul(255).add_(0.5).floor_().div_(255)


@register("jpeg-compression", label="JPEG", paper=PAPER)
class JPEGCompression(Corruption):
    """Written as JPEG of quality c and read again."""

    family = "digital"
    small = (80, 65, 58, 50, 40)
    large = (25, 18, 15, 10, 7)
    channels = (1, 3)

    def apply(self, images: Tensor, constants: int, draws: Draws) -> Tensor:
        """Corrupt; the constant is the quality."""
        pixels = images.mul(255).round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
        with ThreadPoolExecutor(torch.get_num_threads()) as pool:
            read = np.stack(list(pool.map(lambda image: _through_jpeg(image, constants), pixels)))
        return torch.from_numpy(read).permute(0, 3, 1, 2).float() / 255


def _through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image if image.shape[2] == 3 else image[:, :, 0]).save(file, "JPEG", quality=quality)
    return np.array(Image.open(file)).reshape(image.shape)


@register("saturate", label="Saturation", paper=PAPER)
class Saturate(Corruption):
    """a s + b in place of the saturation s of HSV; grey pixels have the hue of red."""

    family = "digital"
    extra = True
    small = ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))
    large = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))
    channels = (3,)

    def apply(self, images: Tensor, constants: tuple[float, float], draws: Draws) -> Tensor:
        """Corrupt; the constants are a and b."""
        factor, offset = constants
        value = images.amax(dim=1, keepdim=True)
        chroma = value - images.amin(dim=1, keepdim=True)
        saturation = chroma / value.clamp_min(1e-12)
        wanted = (saturation * factor + offset).clamp_(0, 1)
        changed = value - (value - images) * (wanted / saturation.clamp_min(1e-12))
        red = torch.cat([value, (value * (1 - wanted)).expand(-1, 2, -1, -1)], dim=1)
        return torch.where(chroma > 0, changed, red)
