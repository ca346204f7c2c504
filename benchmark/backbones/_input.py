"""How the images of a dataset become the input of a backbone."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DataConfig:
    """How the images of a dataset become the input of a backbone.

    Attributes:
        image_size: height and width of the input, in pixels.
        mean: per channel, of images scaled to 0..1 (of the raw values for float images).
        std: per channel, on the same scale.
        interpolation: how images of another size are resized.
        crop_fraction: for sets of varied image sizes: the share of the shorter side that the central crop keeps.
        crop_padding: pixels of zero padding of the random crop in training, at the dataset's own size (0: none).
        horizontal_flip: whether training mirrors half of the images.
    """

    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: Literal["bilinear", "bicubic"] = "bicubic"
    crop_fraction: float = 1.0
    crop_padding: int = 0
    horizontal_flip: bool = False
