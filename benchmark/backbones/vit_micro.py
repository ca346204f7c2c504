"""A Vision Transformer for 8 to 32 pixel images, small enough to train in seconds on one core."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import Field
from torch import nn

from calbench.benchmark.backbones.base import Backbone, build_timm, register, require_divisible
from calbench.datasets import Dataset
from calbench.methods import BackboneInfo

Count = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]


@register("vit-micro", label="ViT-micro", paper="dosovitskiy2021vit")
@dataclass
class ViTMicro(Backbone):
    """Timm's VisionTransformer with a [CLS] token: 2 blocks, 48 wide, patches of 4 pixels.

    Four patches of an 8-pixel image are enough, and cost a third of the sixteen that patches of 2 make. The weights
    start as in the Flax code (timm's ``weight_init="jax"``): the default standard deviation of 0.02 is meant for
    networks 16 times as wide, and a narrow one is slow to leave it.
    """

    timm_init: ClassVar[str] = "jax"

    depth: Count = 2
    width: Count = 48
    heads: Count = 3
    patch: Count = 4
    mlp_ratio: Annotated[float, Field(gt=0)] = 2.0
    dropout: Rate = 0.0

    def info(self, dataset: Dataset) -> BackboneInfo:
        """Width and tokens."""
        require_divisible(self.spec.name, dataset.image_size, self.patch)
        return BackboneInfo(self.spec.name, self.width, has_cls_token=True, has_patch_tokens=True)

    def build(self, num_classes: int, channels: int, image_size: int) -> nn.Module:
        """Make the network."""
        from timm.models.vision_transformer import VisionTransformer

        return self.build_as(VisionTransformer, num_classes, channels, image_size)

    def build_as(self, timm_class: type, num_classes: int, channels: int, image_size: int) -> nn.Module:
        """Make the network of one of timm's ViT classes."""
        from calbench.benchmark.backbones._representation import TimmBackbone

        require_divisible(self.spec.name, image_size, self.patch)
        model = build_timm(
            timm_class,
            self.spec.name,
            img_size=image_size,
            patch_size=self.patch,
            in_chans=channels,
            num_classes=num_classes,
            embed_dim=self.width,
            depth=self.depth,
            num_heads=self.heads,
            mlp_ratio=self.mlp_ratio,
            proj_drop_rate=self.dropout,
            weight_init=self.timm_init,
        )
        return TimmBackbone(model, self.spec.name)
