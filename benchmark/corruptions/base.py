"""The base class and registry of corruptions, and `corrupt`, which applies one to a stack of images."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import Component, Registry
from calbench.benchmark.core.seeds import seed_for
from calbench.benchmark.corruptions._draws import Draws

SEVERITIES = (1, 2, 3, 4, 5)
Family = Literal["noise", "blur", "weather", "digital"]
Scale = Literal[32, 224]
"""The image size in pixels that a set of constants was made for."""

_MIDDLE = 85
"""Between 32 and 224 on a logarithmic scale: smaller images take the constants for 32 pixels."""
_VALUES_AT_ONCE = 2**20
"""Pixel values that are corrupted together: more would exceed the processor's cache."""

registry: Registry[type["Corruption"]] = Registry("corruption")
register = registry.register


class Corruption(Component, ABC):
    """A change of images in five severities.

    Attributes:
        family: which of the four families it belongs to.
        extra: whether it is one of the authors' extra corruptions, outside the 15 that results are averaged over.
        small: the constants of severity 1 to 5 for images of about 32 pixels (CIFAR-10-C).
        large: the same for images of about 224 pixels (ImageNet-C).
        channels: the numbers of channels it is defined for; empty for any.
    """

    family: ClassVar[Family]
    extra: ClassVar[bool] = False
    small: ClassVar[Sequence[Any]]
    large: ClassVar[Sequence[Any]]
    channels: ClassVar[tuple[int, ...]] = ()

    def constants(self, severity: int, scale: Scale) -> Any:
        """The constants of one severity."""
        return (self.small if scale == 32 else self.large)[severity - 1]

    @abstractmethod
    def apply(self, images: Tensor, constants: Any, draws: Draws) -> Tensor:
        """Corrupt images.

        Args:
            images: float32 (N, C, H, W) in 0..1.
            constants: those of the severity.
            draws: random numbers, a stream per image.

        Returns:
            A new tensor of the same shape; values outside 0..1 are clipped by the caller.
        """


def scale_for(image_size: int) -> Scale:
    """Which constants images of `image_size` pixels take: those of the nearer size, on a logarithmic scale."""
    return 32 if image_size < _MIDDLE else 224


def check_corruption(name: str, severity: int, channels: int) -> Corruption:
    """The corruption `name`, if it is defined at this severity and for images of so many channels.

    Raises:
        InputError: an unknown name, a severity outside 1 to 5, or a number of channels that it is not defined for.
    """
    corruption: Corruption = registry.create(name)
    if severity not in SEVERITIES:
        raise InputError(f"corruption {name}: severity {severity!r} does not exist; use 1 to {SEVERITIES[-1]}")
    if corruption.channels and channels not in corruption.channels:
        needed = " or ".join(map(str, corruption.channels))
        raise InputError(f"corruption {name}: images have {channels} channel(s), and it is defined for {needed}")
    return corruption


def corrupt(
    images: Tensor, name: str, severity: int, *, indices: Sequence[int] | None = None, seed: int = 0,
    scale: Scale | None = None, value_range: tuple[float, float] = (0.0, 1.0),
) -> Tensor:  # fmt: skip
    """Corrupt a stack of images.

    The random numbers of an image depend on `seed`, the corruption, the severity and the image's index, and on nothing
    else: not on the other images, the batch or the number of workers.

    Args:
        images: (N, C, H, W), uint8 in 0..255, or float in `value_range`.
        name: of the registry, such as ``"gaussian-noise"``.
        severity: 1 to 5.
        indices: the index of each image in its split; 0..N-1 by default.
        seed: of all random numbers.
        scale: which constants to use, 32 or 224; by default `scale_for` the height of the images.
        value_range: of float images: the values of black and white.

    Returns:
        Images of the same shape and type. As in the authors' generator, 8-bit values are rounded down.

    Raises:
        InputError: as for `check_corruption`, or images that are not such a stack.

    Example:
        ``corrupt(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), "fog", severity=1)``
    """
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        raise InputError(f"corruption {name}: expected images (N, C, H, W), uint8 or float, got {_described(images)}")
    corruption = check_corruption(name, severity, images.shape[1])
    constants = corruption.constants(severity, scale or scale_for(images.shape[-2]))
    indices = range(len(images)) if indices is None else indices
    key = seed_for(seed, "corruption", name, severity)
    result = torch.empty_like(images)
    step = max(1, _VALUES_AT_ONCE // max(1, images[:1].numel()))
    low, high = value_range
    for start in range(0, len(images), step):
        part = images[start : start + step]
        draws = Draws(key, indices[start : start + step])
        if part.dtype == torch.uint8:
            changed = corruption.apply(part.float() / 255, constants, draws)
            # Rounded down, with room for the error of float32: 17 / 255 * 255 stays 17.
            result[start : start + step] = changed.clamp_(0, 1).mul_(255).add_(1e-3).to(torch.uint8)
        else:
            unit = ((part.float() - low) / (high - low)).clamp_(0, 1)
            changed = corruption.apply(unit, constants, draws).clamp_(0, 1)
            result[start : start + step] = changed * (high - low) + low
    return result


def _described(images: Tensor) -> str:
    return f"shape {tuple(images.shape)} of {str(images.dtype).removeprefix('torch.')}"
