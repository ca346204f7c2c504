"""The paper's transformers at 224 pixels, with pinned weights."""

from dataclasses import dataclass
from typing import ClassVar

from calbench.benchmark.backbones.base import register
from calbench.benchmark.backbones.timm_model import Count, TimmNetwork
from calbench.datasets import Dataset
from calbench.methods import BackboneInfo


@dataclass(kw_only=True)
class Transformer224(TimmNetwork):
    """Base of these: what can be known of them without importing timm."""

    timm_name: ClassVar[str]
    width: ClassVar[int]
    has_cls_token: ClassVar[bool]

    pretrained: bool = True
    image_size: Count = 224

    def info(self, dataset: Dataset) -> BackboneInfo:
        """Width and tokens."""
        return BackboneInfo(self.spec.name, self.width, self.has_cls_token, has_patch_tokens=True)


@register("vit-b16-224", label="ViT-B/16", paper="dosovitskiy2021vit")
@dataclass(kw_only=True)
class ViTB16(Transformer224):
    """ViT-B/16 trained on ImageNet-21k and then 1k (AugReg, Steiner 2022); any image is resized to 224 pixels."""

    timm_name = "vit_base_patch16_224.augreg2_in21k_ft_in1k"
    width = 768
    has_cls_token = True


@register("deit-s16-224", label="DeiT-S/16", paper="touvron2021deit")
@dataclass(kw_only=True)
class DeiTS16(Transformer224):
    """DeiT-S/16 trained on ImageNet-1k without distillation; any image is resized to 224 pixels."""

    timm_name = "deit_small_patch16_224.fb_in1k"
    width = 384
    has_cls_token = True


@register("swin-s-224", label="Swin-S", paper="liu2021swin")
@dataclass(kw_only=True)
class SwinS(Transformer224):
    """Swin-S trained on ImageNet-1k; any image is resized to 224 pixels. No [CLS] token: the features are pooled."""

    timm_name = "swin_small_patch4_window7_224.ms_in1k"
    width = 768
    has_cls_token = False
