"""Noise corruptions: Gaussian, shot, impulse and speckle."""

from torch import Tensor

from calbench.benchmark.corruptions._draws import Draws
from calbench.benchmark.corruptions.base import Corruption, register

PAPER = "hendrycks2019corruptions"


@register("gaussian-noise", label="Gaussian noise", paper=PAPER)
class GaussianNoise(Corruption):
    """x + sigma e, e standard normal, every pixel and channel apart."""

    family = "noise"
    small = (0.04, 0.06, 0.08, 0.09, 0.10)
    large = (0.08, 0.12, 0.18, 0.26, 0.38)

    def apply(self, images: Tensor, constants: float, draws: Draws) -> Tensor:
        """Corrupt; the constant is sigma."""
        return draws.normal(*images.shape[1:]).mul_(constants).add_(images)


@register("shot-noise", label="Shot noise", paper=PAPER)
class ShotNoise(Corruption):
    """Poisson(x c) / c: photon counts where white is c photons."""

    family = "noise"
    small = (500, 250, 100, 75, 50)
    large = (60, 25, 12, 5, 3)

    def apply(self, images: Tensor, constants: float, draws: Draws) -> Tensor:
        """Corrupt; the constant is c."""
        return draws.poisson(images * constants).div_(constants)


@register("impulse-noise", label="Impulse noise", paper=PAPER)
class ImpulseNoise(Corruption):
    """A share c of the values replaced, half by 0 and half by 1 (salt and pepper, every channel apart)."""

    family = "noise"
    small = (0.01, 0.02, 0.03, 0.05, 0.07)
    large = (0.03, 0.06, 0.09, 0.17, 0.27)

    def apply(self, images: Tensor, constants: float, draws: Draws) -> Tensor:
        """Corrupt; the constant is the share."""
        draw = draws.uniform(*images.shape[1:])
        return images.masked_fill(draw < constants, 1.0).masked_fill_(draw < constants / 2, 0.0)


@register("speckle-noise", label="Speckle noise", paper=PAPER)
class SpeckleNoise(Corruption):
    """x + x sigma e, e standard normal."""

    family = "noise"
    extra = True
    small = (0.06, 0.1, 0.12, 0.16, 0.2)
    large = (0.15, 0.2, 0.35, 0.45, 0.6)

    def apply(self, images: Tensor, constants: float, draws: Draws) -> Tensor:
        """Corrupt; the constant is sigma."""
        return draws.normal(*images.shape[1:]).mul_(constants).add_(1).mul_(images)
