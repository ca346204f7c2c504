"""The base class of modifiers, and a backbone with modifiers."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, Self, cast

from torch import nn

from calbench.benchmark.backbones._input import DataConfig
from calbench.benchmark.backbones.base import Backbone
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import Component, Registry, Spec
from calbench.datasets import Dataset
from calbench.methods import BackboneInfo


class Modifier(Component, ABC):
    """Base of all modifiers; dataclass fields are the options.

    A modifier changes a network after it is built and before it is trained; what it adds is trained with the network.
    """

    identity_at_start: ClassVar[bool] = False
    """Whether the modified network gives the same logits as the plain one before training; tested where declared."""

    def check(self, backbone: BackboneInfo) -> None:
        """Raise an `InputError` with the reason where this modifier cannot work on `backbone`.

        The default refuses networks without patch tokens, which have no attention.
        """
        if not backbone.has_patch_tokens:
            raise InputError(f"{self.spec.name} acts inside attention, and {backbone.name} has none")

    @abstractmethod
    def apply(self, network: nn.Module) -> None:
        """Change `network` in place, without drawing from torch's global generator.

        Raises:
            InputError: the network lacks what the modifier acts on.
        """


registry: Registry[type[Modifier]] = Registry("modifier")
register = registry.register


class ModifiedBackbone(Backbone):
    """A backbone with modifiers, applied in order; everything else is the backbone's.

    Overrides of a suite that name the plain backbone match the modified one too: both are trained alike.

    Args:
        backbone: the plain backbone.
        modifiers: at least one.
    """

    def __init__(self, backbone: Backbone, modifiers: tuple[Modifier, ...]) -> None:
        self.backbone = backbone
        self.modifiers = modifiers
        labels = [backbone.spec.label, *(modifier.spec.label for modifier in modifiers)]
        cast("Any", self).spec = Spec(backbone.spec.name, " * ".join(labels), backbone.spec.paper)

    def options(self) -> dict[str, Any]:
        """The options of the plain backbone."""
        return self.backbone.options()

    def changed_options(self) -> dict[str, Any]:
        """The options of the plain backbone that differ from their defaults."""
        return self.backbone.changed_options()

    def identity(self) -> dict[str, Any]:
        """The plain backbone's identity, and that of every modifier."""
        return self.backbone.identity() | {"modifiers": [modifier.identity() for modifier in self.modifiers]}

    def spelled(self) -> str:
        """``backbone * modifier``, as a suite has it."""
        return " * ".join(part.spelled() for part in (self.backbone, *self.modifiers))

    def info(self, dataset: Dataset) -> BackboneInfo:
        """Width and tokens of the plain backbone.

        Raises:
            InputError: a modifier cannot work on it.
        """
        info = self.backbone.info(dataset)
        for modifier in self.modifiers:
            modifier.check(info)
        return replace(info, name=self.spelled())

    def build(self, num_classes: int, channels: int, image_size: int) -> nn.Module:
        """Make the plain network and modify it."""
        network = self.backbone.build(num_classes, channels, image_size)
        for modifier in self.modifiers:
            try:
                modifier.apply(network)
            except InputError as error:
                raise InputError(f"backbone {self.spelled()}: {error}") from error
        return network

    def without_weights(self, dataset: Dataset) -> Self:
        """The same network without given weights."""
        return type(self)(self.backbone.without_weights(dataset), self.modifiers)

    def data_config(self, dataset: Dataset) -> DataConfig:
        """As of the plain backbone."""
        return self.backbone.data_config(dataset)

    def __getattr__(self, name: str) -> Any:
        """Anything else that the plain backbone has, such as ``has_weights``."""
        if name.startswith("__") or name == "backbone":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.backbone, name)
