"""Weather corruptions: snow, fog and brightness. Frost needs the authors' photographs and is left out."""

import torch
from torch import Tensor

from calbench.benchmark.corruptions._draws import Draws
from calbench.benchmark.corruptions._operators import motion_blur, separable, zoom_matrix
from calbench.benchmark.corruptions.base import Corruption, register

PAPER = "hendrycks2019corruptions"
_LUMA = (0.299, 0.587, 0.114)


@register("snow", label="Snow", paper=PAPER)
class Snow(Corruption):
    """Bright flakes in streaks over a picture that is washed out."""

    family = "weather"
    small = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95), (0.1, 0.2, 1, 0.5, 10, 4, 0.9), (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85), (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )  # fmt: skip
    large = (
        (0.1, 0.3, 3, 0.5, 10, 4, 0.8), (0.2, 0.3, 2, 0.5, 12, 4, 0.7), (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
        (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65), (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
    )  # fmt: skip

    def apply(self, images: Tensor, constants: tuple[float, ...], draws: Draws) -> Tensor:
        """Corrupt; mean and spread of the flakes, their size, threshold, radius and sigma of their fall, clarity."""
        mean, spread, zoom, threshold, radius, sigma, clarity = constants
        height, width = images.shape[-2:]
        flakes = draws.normal(1, height, width).mul_(spread).add_(mean)
        flakes = separable(flakes, zoom_matrix(height, zoom), zoom_matrix(width, zoom))
        flakes = flakes.masked_fill_(flakes < threshold, 0).clamp_(0, 1).mul_(255).floor_().div_(255)
        flakes = motion_blur(flakes, int(radius), sigma, draws.uniform(1, low=-135, high=-45).squeeze(1))
        washed = torch.maximum(images, grey(images) * 1.5 + 0.5)
        return images.mul(clarity).add_(washed, alpha=1 - clarity).add_(flakes).add_(flakes.rot90(2, (-2, -1)))


def grey(images: Tensor) -> Tensor:
    """The luma of colour images (N, 3, H, W), and the mean channel of others, as (N, 1, H, W)."""
    if images.shape[1] != len(_LUMA):
        return images.mean(dim=1, keepdim=True)
    return (images * images.new_tensor(_LUMA).view(1, -1, 1, 1)).sum(dim=1, keepdim=True)


@register("fog", label="Fog", paper=PAPER)
class Fog(Corruption):
    """(x + c f) m / (m + c), m the largest value of x and f a plasma fractal in 0..1."""

    family = "weather"
    small = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))
    large = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))

    def apply(self, images: Tensor, constants: tuple[float, float], draws: Draws) -> Tensor:
        """Corrupt; the constants are c and how fast the roughness of the fractal falls with its scale."""
        thickness, decay = constants
        height, width = images.shape[-2:]
        size = 1 << max(1, (max(height, width) - 1).bit_length())
        clouds = plasma(draws, size, decay)[:, None, :height, :width]
        largest = images.amax(dim=(1, 2, 3), keepdim=True)
        return images.add(clouds, alpha=thickness).mul_(largest / (largest + thickness))


def plasma(draws: Draws, size: int, decay: float) -> Tensor:
    """Height maps in 0..1 by the diamond-square algorithm, edges wrapped around: (N, size, size).

    Args:
        draws: random numbers.
        size: a power of two.
        decay: what the randomness is divided by from one scale to the next.
    """
    noise = draws.uniform(size * size, low=-1, high=1)
    heights = torch.zeros(len(draws), size, size)
    step, roughness, used = size, 100.0, 0
    while step >= 2:
        half = step // 2
        corners = heights[:, ::step, ::step].clone()
        cells = corners.shape[1]

        def rough(total: Tensor, cells: int = cells, roughness: float = roughness) -> Tensor:
            nonlocal used
            part = noise[:, used : used + cells * cells].view(-1, cells, cells)
            used += cells * cells
            return total / 4 + roughness**2 * part

        square = corners + corners.roll(-1, 1)
        heights[:, half::step, half::step] = rough(square + square.roll(-1, 2))
        centres = heights[:, half::step, half::step].clone()
        across = centres + centres.roll(1, 1) + corners + corners.roll(-1, 2)
        heights[:, ::step, half::step] = rough(across)
        # The authors' generator takes the right neighbour here too, where the lower one would be the rule.
        along = centres + centres.roll(1, 2) + corners + corners.roll(-1, 2)
        heights[:, half::step, ::step] = rough(along)
        step, roughness = half, roughness / decay
    heights -= heights.amin(dim=(1, 2), keepdim=True)
    return heights / heights.amax(dim=(1, 2), keepdim=True).clamp_min(1e-12)


@register("brightness", label="Brightness", paper=PAPER)
class Brightness(Corruption):
    """c added to the value of HSV: the largest channel grows by c, and the others with it."""

    family = "weather"
    small = (0.05, 0.1, 0.15, 0.2, 0.3)
    large = (0.1, 0.2, 0.3, 0.4, 0.5)

    def apply(self, images: Tensor, constants: float, draws: Draws) -> Tensor:
        """Corrupt; the constant is c."""
        value = images.amax(dim=1, keepdim=True)
        brighter = (value + constants).clamp_max_(1)
        return torch.where(value > 0, images * (brighter / value.clamp_min(1e-12)), brighter)
