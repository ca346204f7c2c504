"""A Swin Transformer for 8 to 32 pixel images."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from calbench.benchmark.backbones.base import Backbone, build_timm, register, require_divisible
from calbench.benchmark.core.errors import InputError
from calbench.datasets import Dataset
from calbench.methods import BackboneInfo

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]


@register("swin-micro", label="Swin-micro", paper="liu2021swin")
@dataclass
class SwinMicro(Backbone):
    """Timm's SwinTransformer: stages of 2 and 1 blocks, 16 and 32 wide, patches of 2 pixels, windows of 2 x 2 patches.

    An 8-pixel image is a grid of 4 x 4 patches, so the first stage has a plain and a shifted window, and the second
    sees the whole image. There is no [CLS] token: the features are the mean over the patches after the final norm.
    """

    timm_init: ClassVar[str] = "jax"

    depths: tuple[Count, ...] = (2, 1)
    width: Count = 16
    heads: tuple[Count, ...] = (2, 4)
    patch: Count = 2
    window: Count = 2
    mlp_ratio: Annotated[float, Field(gt=0)] = 2.0
    drop_path: Rate = 0.0

    def __post_init__(self) -> None:
        """Check the options, and that every stage has its number of heads."""
        super().__post_init__()
        if not self.depths or len(self.depths) != len(self.heads):
            raise InputError(f"{self.spec.name}: depths and heads must name the same stages, at least one")

    def info(self, dataset: Dataset) -> BackboneInfo:
        """Width of the last stage; patch tokens, no [CLS]."""
        require_divisible(self.spec.name, dataset.image_size, self.patch)
        width = self.width * 2 ** (len(self.depths) - 1)
        return BackboneInfo(self.spec.name, width, has_cls_token=False, has_patch_tokens=True)

    def build(self, num_classes: int, channels: int, image_size: int) -> nn.Module:
        """Make the network."""
        from timm.models.swin_transformer import SwinTransformer

        from calbench.benchmark.backbones._representation import TimmBackbone

        require_divisible(self.spec.name, image_size, self.patch)
        model = build_timm(
            SwinTransformer,
            self.spec.name,
            img_size=image_size,
            patch_size=self.patch,
            in_chans=channels,
            num_classes=num_classes,
            embed_dim=self.width,
            depths=self.depths,
            num_heads=self.heads,
            window_size=self.window,
            mlp_ratio=self.mlp_ratio,
            drop_path_rate=self.drop_path,
            weight_init=self.timm_init,
        )
        return TimmBackbone(model, self.spec.name)
