"""The CNNs of the calibration literature for 32-pixel images, from timm's classes with a stem for small images.

The stem is one 3 x 3 convolution of stride 1 without pooling, as Guo et al. (2017) and Mukhoti et al. (2020) have it.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

from torch import nn

from calbench.benchmark.backbones.base import Backbone, register
from calbench.datasets import Dataset
from calbench.methods import BackboneInfo


class CNN32(Backbone):
    """Base of these CNNs: features pooled over the image, no tokens."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Channels of the last stage, D."""

    @abstractmethod
    def make(self, num_classes: int, channels: int) -> Any:
        """Make the timm model."""

    def info(self, dataset: Dataset) -> BackboneInfo:
        """The pooled features only."""
        return BackboneInfo(self.spec.name, self.width, has_cls_token=False, has_patch_tokens=False)

    def build(self, num_classes: int, channels: int, image_size: int) -> nn.Module:
        """Make the network."""
        from calbench.benchmark.backbones._representation import TimmBackbone

        return TimmBackbone(self.make(num_classes, channels), self.spec.name)


def small_image_resnet(
    block: Literal["BasicBlock", "Bottleneck"],
    layers: tuple[int, ...],
    planes: tuple[int, ...],
    stem: int,
    num_classes: int,
    channels: int,
) -> Any:
    """Make timm's ResNet with a 3 x 3 stem of `stem` channels; 1 x 1 convolutions where a shortcut changes shape."""
    from timm.models import resnet

    # timm's plain stem is always 64 wide; its deep one is twice stem_width, and is replaced here.
    model = resnet.ResNet(
        getattr(resnet, block),
        layers=layers,
        channels=planes,
        num_classes=num_classes,
        in_chans=channels,
        stem_type="deep",
        stem_width=stem // 2,
        zero_init_last=False,
    )
    model.conv1 = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.maxpool = nn.Identity()
    if len(layers) == 3:
        model.layer4 = nn.Identity()  # timm's forward pass names four stages
    return model


@register("resnet50-32", label="ResNet-50", paper="he2016resnet")
@dataclass
class ResNet50(CNN32):
    """ResNet-50 of bottleneck blocks (3, 4, 6, 3), 64 to 512 planes, stem for small images (Mukhoti 2020)."""

    width: ClassVar[int] = 2048

    def make(self, num_classes: int, channels: int) -> Any:
        """Make the timm model."""
        return small_image_resnet("Bottleneck", (3, 4, 6, 3), (64, 128, 256, 512), 64, num_classes, channels)


@register("resnet110-32", label="ResNet-110", paper="he2016resnet")
@dataclass
class ResNet110(CNN32):
    """ResNet-110, in the two versions of the literature.

    ``he2016``: He's for CIFAR, as Guo (2017) uses it: three stages of 18 basic blocks, 16, 32 and 64 planes, 1.7
    million parameters; the two shortcuts that change the shape are 1 x 1 convolutions. ``mukhoti2020``: the
    network of that name in Mukhoti's code, bottleneck blocks (3, 4, 26, 3) with 64 to 512 planes.
    """

    variant: Literal["he2016", "mukhoti2020"] = "he2016"

    @property
    def width(self) -> int:
        """Channels of the last stage."""
        return 64 if self.variant == "he2016" else 2048

    def make(self, num_classes: int, channels: int) -> Any:
        """Make the timm model."""
        if self.variant == "he2016":
            return small_image_resnet("BasicBlock", (18, 18, 18), (16, 32, 64), 16, num_classes, channels)
        return small_image_resnet("Bottleneck", (3, 4, 26, 3), (64, 128, 256, 512), 64, num_classes, channels)


@register("wrn-26-10-32", label="WRN-26-10", paper="zagoruyko2016wrn")
@dataclass
class WideResNet(CNN32):
    """Wide ResNet of depth 26 and factor 10: three stages of 4 basic blocks, 160, 320 and 640 planes.

    The blocks are activated after the sum, as in Mukhoti's released code; Zagoruyko's own are activated before.
    """

    width: ClassVar[int] = 640

    def make(self, num_classes: int, channels: int) -> Any:
        """Make the timm model."""
        return small_image_resnet("BasicBlock", (4, 4, 4), (160, 320, 640), 16, num_classes, channels)


@register("densenet121-32", label="DenseNet-121", paper="huang2017densenet")
@dataclass
class DenseNet121(CNN32):
    """DenseNet-121 (growth 32, blocks of 6, 12, 24 and 16 layers) with a stem for small images (Mukhoti 2020)."""

    width: ClassVar[int] = 1024

    def make(self, num_classes: int, channels: int) -> Any:
        """Make the timm model."""
        from timm.models.densenet import DenseNet

        model = DenseNet(growth_rate=32, block_config=(6, 12, 24, 16), num_classes=num_classes, in_chans=channels)
        stem = nn.Conv2d(channels, cast("nn.Conv2d", model.features.conv0).out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(stem.weight)
        model.features.conv0, model.features.pool0 = stem, nn.Identity()
        return model
