"""Transformers of the usual widths for 32-pixel images, trained from scratch."""

from dataclasses import dataclass
from typing import ClassVar

from calbench.benchmark.backbones.base import register
from calbench.benchmark.backbones.deit_micro import DeiTMicro
from calbench.benchmark.backbones.swin_micro import Count, Rate, SwinMicro
from calbench.benchmark.backbones.vit_micro import ViTMicro


@register("vit-mini-32", label="ViT-mini/8", paper="dosovitskiy2021vit")
@dataclass
class ViTMini32(ViTMicro):
    """A ViT of 0.8 million parameters (6 blocks, 128 wide, 4 heads) with 16 patches of 8 pixels for 32-pixel images.

    Trains at several hundred images per second on one CPU core.
    """

    depth: Count = 6
    width: Count = 128
    heads: Count = 4
    patch: Count = 8


@register("vit-s4-32", label="ViT-S/4", paper="dosovitskiy2021vit")
@dataclass
class ViTSmall32(ViTMicro):
    """ViT-S (12 blocks, 384 wide, 6 heads) with patches of 4 pixels: 64 patches of a 32-pixel image."""

    timm_init: ClassVar[str] = ""

    depth: Count = 12
    width: Count = 384
    heads: Count = 6
    mlp_ratio: float = 4.0


@register("deit-s4-32", label="DeiT-S/4", paper="touvron2021deit")
@dataclass
class DeiTSmall32(DeiTMicro):
    """DeiT-S (12 blocks, 384 wide, 6 heads) with patches of 4 pixels; its distillation token as in `deit-micro`."""

    timm_init: ClassVar[str] = ""

    depth: Count = 12
    width: Count = 384
    heads: Count = 6
    mlp_ratio: float = 4.0


@register("swin-s-32", label="Swin-S/2", paper="liu2021swin")
@dataclass
class SwinSmall32(SwinMicro):
    """Swin-S (96 wide, stages of 2, 2, 18 and 2 blocks) with patches of 2 pixels and windows of 4 x 4 patches.

    The grids of a 32-pixel image are 16, 8, 4 and 2 patches wide; in the last two one window sees the whole image.
    """

    timm_init: ClassVar[str] = ""

    depths: tuple[Count, ...] = (2, 2, 18, 2)
    width: Count = 96
    heads: tuple[Count, ...] = (3, 6, 12, 24)
    window: Count = 4
    mlp_ratio: float = 4.0
    drop_path: Rate = 0.1
