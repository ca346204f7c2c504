"""Resolution: a trained network at another input size."""

from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field

from calbench.benchmark.backbones import DataConfig
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.variants._base import Variant, register


@register("resolution", label="Res", paper="dosovitskiy2021vit")
@dataclass
class Resolution(Variant):
    """Predict at another resolution: images resized, position embeddings interpolated, weights as they are.

    For a ViT this changes the number of tokens, so it is the natural shift of sequence length; combine it with
    ``attention-temperature``, which is said to help there. Swin's windows and their position bias are adapted by timm.
    A CNN takes any size.

    Args:
        size: height and width of the input, in pixels.
    """

    size: Annotated[int, Field(ge=4)]

    def config(self, config: DataConfig) -> DataConfig:
        """The same statistics at the new size."""
        return replace(config, image_size=self.size)

    def prepare(self, network: Any, config: DataConfig) -> None:
        """Interpolate the position embeddings, where the network has an input size.

        Raises:
            InputError: the network cannot take this size.
        """
        model = network.backbone.model
        resize, embedding, size = getattr(model, "set_input_size", None), getattr(model, "patch_embed", None), self.size
        if resize is None or getattr(embedding, "img_size", None) == (size, size):
            return  # any size will do, or it is the network's own, which timm before 1.0.31 refuses for a small Swin
        try:
            resize(img_size=(size, size))
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"resolution: the network cannot take {size} pixels: {error}") from error
