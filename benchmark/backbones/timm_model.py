"""Models from timm's factory: any of them as ``timm:NAME``, and the base of those with a name in calbench."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Self, cast

import torch
from pydantic import Field
from torch import nn

from calbench.benchmark.backbones import _weights as weights
from calbench.benchmark.backbones._input import DataConfig
from calbench.benchmark.backbones.base import Backbone, register
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.text import name as one_name
from calbench.datasets import Dataset
from calbench.methods import BackboneInfo

if TYPE_CHECKING:
    from calbench.benchmark.backbones._representation import TimmBackbone

Count = Annotated[int, Field(ge=1)]
_WEIGHTS_BY_PATH = ("pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
"""Options of `timm.create_model` by which weights come, which the key would know by name only."""


@dataclass(kw_only=True)
class TimmNetwork(Backbone, ABC):
    """Base of models from timm's factory.

    `pretrained` takes timm's weights from the hub's cache or the network; `checkpoint` a local file of weights in their
    place (its content, not its path, is part of the cache key); `image_size` overrides the input size.
    """

    pretrained: bool = False
    checkpoint: str | None = None
    image_size: Count | None = None

    @property
    @abstractmethod
    def timm_name(self) -> str:
        """Timm's name of the model, with its weight tag."""

    @property
    def has_weights(self) -> bool:
        """Whether training starts from given weights."""
        return self.pretrained or self.checkpoint is not None

    def input_size(self, dataset_size: int) -> int:
        """Pixels of the input: the option, or timm's size for given weights, or the dataset's."""
        if self.image_size is not None:
            return self.image_size
        return weights.pretrained_config(self.timm_name).input_size[-1] if self.has_weights else dataset_size

    def without_weights(self, dataset: Dataset) -> Self:
        """The same network at the same input size, without given weights."""
        size = self.input_size(dataset.image_size) if self.has_weights else self.image_size
        return replace(self, pretrained=False, checkpoint=None, image_size=size)

    def model_options(self, size: int) -> dict[str, Any]:
        """Options of the model's constructor for an input of `size` pixels."""
        return {"img_size": size} if weights.pretrained_config(self.timm_name).fixed_input_size else {}

    def identity(self) -> dict[str, Any]:
        """As of every component, with timm's name, and the hash of the checkpoint in place of its path."""
        plain = super().identity() | {"timm": self.timm_name}
        if self.checkpoint is not None:
            plain["options"] = cast("Any", plain["options"]) | {
                "checkpoint": weights.checkpoint_digest(self.checkpoint)
            }
        return plain

    def build(self, num_classes: int, channels: int, image_size: int) -> "TimmBackbone":
        """Make the network, with its weights where the options ask for them."""
        return self._make(num_classes, channels, image_size, self.pretrained, self.checkpoint)

    def _make(
        self, num_classes: int, channels: int, image_size: int, pretrained: bool, checkpoint: str | None
    ) -> "TimmBackbone":
        from calbench.benchmark.backbones._representation import TimmBackbone

        size = self.input_size(image_size)
        options = {"num_classes": num_classes, "in_chans": channels} | self.model_options(size)
        model = weights.create_model(self.timm_name, pretrained=pretrained, checkpoint=checkpoint, **options)
        return TimmBackbone(model, self.spelled())

    def data_config(self, dataset: Dataset) -> DataConfig:
        """Timm's own mean, std, interpolation and central crop for given weights, else the dataset's statistics."""
        config = replace(super().data_config(dataset), image_size=self.input_size(dataset.image_size))
        if not self.has_weights:
            return config
        own = weights.pretrained_config(self.timm_name)
        return replace(
            config,
            mean=_channels(own.mean, dataset.channels),
            std=_channels(own.std, dataset.channels),
            interpolation="bilinear" if own.interpolation == "bilinear" else "bicubic",
            crop_fraction=own.crop_pct,
        )


def _channels(values: tuple[float, ...], channels: int) -> tuple[float, ...]:
    """Statistics for `channels` channels: their mean for grey images, to which timm adapts the first layer."""
    return values if len(values) == channels else (sum(values) / len(values),) * channels


@register("timm", label="timm", paper="wightman2019timm")
@dataclass(kw_only=True)
class TimmModel(TimmNetwork):
    """A model of timm, written ``timm:resnet18`` or ``timm:resnet18.a1_in1k(pretrained=true)``.

    Pretrained models are named with their weight tag, since timm's default tag changes between versions; their size,
    mean, std and interpolation are timm's own. Models from scratch take the dataset's. `kwargs` goes to the model's
    constructor as it is.
    """

    model: str
    kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the options, and that timm has the model.

        Raises:
            InputError: an unknown model (with the nearest name), weights without a tag, or weights in `kwargs`.
        """
        super().__post_init__()
        weights.check_model_name(self.model)
        for option in _WEIGHTS_BY_PATH:
            if option in self.kwargs:
                raise InputError(
                    f"timm:{self.model}: kwargs.{option} would load weights that are in no cache key; give the option "
                    f"checkpoint=FILE, or pretrained=true"
                )
        if self.pretrained and self.checkpoint is None and "." not in self.model:
            known = ", ".join(f"timm:{self.model}.{tag}" for tag in weights.weight_tags(self.model)) or "none"
            raise InputError(f"timm:{self.model}: name the weights with their tag; known: {known}")

    @property
    def timm_name(self) -> str:
        """Timm's name of the model."""
        return self.model

    def model_options(self, size: int) -> dict[str, Any]:
        """Options of the model's constructor; `kwargs` wins."""
        return super().model_options(size) | self.kwargs

    def build(self, num_classes: int, channels: int, image_size: int) -> nn.Module:
        """Make the network, and check that one pass gives what the model itself gives."""
        from calbench.benchmark.backbones._representation import check_one_pass

        backbone = super().build(num_classes, channels, image_size)
        check_one_pass(backbone, self.spelled(), channels, self.input_size(image_size))
        return backbone

    def spelled(self) -> str:
        """The name as written in a suite."""
        options = {key: value for key, value in self.changed_options().items() if key != "model"}
        changed = one_name(", ".join(f"{key}={value}" for key, value in options.items()))
        return f"timm:{self.model}({changed})" if changed else f"timm:{self.model}"

    def info(self, dataset: Dataset) -> BackboneInfo:
        """Width and tokens, from one pass of the model, without its weights, over a random image."""
        size = self.input_size(dataset.image_size)
        key = repr((self.model, self.kwargs, dataset.channels, size))
        if key not in _probed:
            _probed[key] = self._probe(dataset.channels, dataset.image_size, size)
        width, cls_token, patch_tokens = _probed[key]
        return BackboneInfo(self.spelled(), width, cls_token, patch_tokens)

    def _probe(self, channels: int, dataset_size: int, size: int) -> tuple[int, bool, bool]:
        from calbench.benchmark.backbones._representation import check_one_pass

        with torch.random.fork_rng(devices=[]), torch.no_grad():
            backbone = self._make(2, channels, dataset_size, pretrained=False, checkpoint=None).eval()
            check_one_pass(backbone, self.spelled(), channels, size)
            seen = backbone(torch.zeros(1, channels, size, size))
        return seen.features.shape[1], seen.cls_token is not None, seen.patch_tokens is not None


_probed: dict[str, tuple[int, bool, bool]] = {}
