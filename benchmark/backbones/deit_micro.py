"""A DeiT with its distillation token for 8 to 32 pixel images."""

from dataclasses import dataclass

from torch import nn

from calbench.benchmark.backbones.base import register
from calbench.benchmark.backbones.vit_micro import ViTMicro


@register("deit-micro", label="DeiT-micro", paper="touvron2021deit")
@dataclass
class DeiTMicro(ViTMicro):
    """Timm's VisionTransformerDistilled: `vit-micro` with a distillation token and a second head.

    There is no teacher here, so the second token learns from the labels, as the first does. The logits are the mean of
    both heads, in training as in evaluation: the objective then acts on the very function that is evaluated and
    calibrated (with one loss per head, no loss would train the mean of the two). It is what timm does when a
    DeiT is trained without distillation. The pooled features are the mean of both tokens after the final norm; the
    [CLS] token is the first of them.
    """

    def build(self, num_classes: int, channels: int, image_size: int) -> nn.Module:
        """Make the network."""
        from timm.models.deit import VisionTransformerDistilled

        return self.build_as(VisionTransformerDistilled, num_classes, channels, image_size)
