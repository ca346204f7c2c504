"""The base class of backbones: networks whose forward pass returns logits, pooled features and tokens.

Nothing here imports timm, so a run whose results are all cached does not pay for that import.
"""

from abc import ABC, abstractmethod
from typing import Any, Self

from torch import nn

from calbench.benchmark.backbones._input import DataConfig
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import Component, Registry
from calbench.datasets import Dataset
from calbench.methods import BackboneInfo


class Backbone(Component, ABC):
    """Base of all backbones; dataclass fields are the options."""

    @abstractmethod
    def info(self, dataset: Dataset) -> BackboneInfo:
        """Width and tokens on `dataset`, without building the network.

        Raises:
            InputError: the backbone cannot take images of this dataset.
        """

    @abstractmethod
    def build(self, num_classes: int, channels: int, image_size: int) -> nn.Module:
        """Make the network, initialised from torch's global generator.

        Args:
            num_classes: K.
            channels: of the images.
            image_size: of the dataset's images, in pixels; a backbone with a fixed input size uses that size instead,
                see `data_config`.

        Returns:
            A module that maps images (N, C, S, S) to a `calbench.methods.Representation`.

        Raises:
            InputError: incompatible options, or pretrained weights that are not available.
        """

    def without_weights(self, dataset: Dataset) -> Self:
        """The same network for the same input, randomly initialised, for example to time it."""
        return self

    def data_config(self, dataset: Dataset) -> DataConfig:
        """How the images of `dataset` become this backbone's input: at their own size and statistics."""
        return DataConfig(
            image_size=dataset.image_size,
            mean=tuple(dataset.mean),
            std=tuple(dataset.std),
            crop_padding=dataset.crop_padding,
            horizontal_flip=dataset.horizontal_flip,
        )


registry: Registry[type[Backbone]] = Registry("backbone")
register = registry.register


def require_divisible(name: str, image_size: int, patch: int) -> None:
    """Raise an `InputError` unless the image is a whole number of patches wide."""
    if image_size % patch:
        raise InputError(f"{name}: images of {image_size} pixels are no whole number of patches of {patch}; set patch")


def build_timm(make: Any, name: str, **options: Any) -> Any:
    """Call a timm constructor; what it refuses becomes an `InputError` that names the backbone."""
    try:
        return make(**options)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"backbone {name}: timm refuses these options: {error}") from error
