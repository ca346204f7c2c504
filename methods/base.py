"""The base classes of calibration methods: objectives (losses), augmentations, heads and calibrators.

A method is one class in one file with one ``@register``; its dataclass fields are its options. This package does not
import the engine.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Generator, Tensor, nn

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import Component, Registry

Need = Literal["features", "hard-labels", "whole-batch", "temperature", "binary", "more-samples-than-classes"]
"""``whole-batch``: the loss is not a mean over samples, so a batch cannot be split; ``temperature``: of the head."""

Kind = Literal["objective", "augmentation", "head", "calibrator"]


class Method(Component):
    """Base of all methods: where it acts, what it needs and what it keeps.

    ``tune_grid`` are options with the values that a tuned entry tries (``tune`` of a suite), four or more in all. It is
    not part of a cell's key, which contains the value that was used.
    """

    kind: ClassVar[Kind]
    needs: ClassVar[frozenset[Need]] = frozenset()
    keeps_accuracy: ClassVar[bool] = False
    tune_grid: ClassVar[tuple[tuple[str, tuple[Any, ...]], ...]] = ()


registry: Registry[type[Method]] = Registry("method")
register = registry.register


@dataclass
class Representation:
    """One forward pass of a backbone over a batch of N images.

    Attributes:
        logits: the classifier's output (N, K).
        features: the pooled features that the classifier reads (N, D).
        cls_token: the [CLS] token after the final norm (N, D), or None where the backbone has none.
        patch_tokens: the patch tokens after the final norm (N, T, D), or None where there are none.
    """

    logits: Tensor
    features: Tensor
    cls_token: Tensor | None = None
    patch_tokens: Tensor | None = None


@dataclass
class Outputs:
    """The inputs of the loss for one batch.

    Attributes:
        logits: the final logits (N, K), after the head if the recipe has one.
        raw_logits: the classifier's logits before the head (N, K); the same tensor without a head.
        temperature: the head's temperature per sample (N,), or None.
        features: the pooled features (N, D), or None where the caller has none.
    """

    logits: Tensor
    raw_logits: Tensor
    temperature: Tensor | None = None
    features: Tensor | None = None


@dataclass(frozen=True)
class BackboneInfo:
    """What a head may know of a backbone before it is built: width D, and which tokens it gives."""

    name: str
    num_features: int
    has_cls_token: bool
    has_patch_tokens: bool


class Objective(Method, ABC):
    """A training loss."""

    kind = "objective"

    @property
    def takes_soft_targets(self) -> bool:
        """Whether targets may be class distributions (N, K), as Mixup makes them."""
        return "hard-labels" not in self.needs

    @abstractmethod
    def loss(self, outputs: Outputs, targets: Tensor) -> Tensor:
        """The mean loss of a batch.

        Args:
            outputs: the model's outputs; logits of any float type, computed in float32 or better.
            targets: labels (N,) int64, or distributions (N, K) where the objective takes them.

        Returns:
            A scalar.
        """


class Augmentation(Method, ABC):
    """A change of a training batch that mixes samples, and so gives soft targets."""

    kind = "augmentation"

    @abstractmethod
    def mix(self, images: Tensor, targets: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        """Change a batch.

        Args:
            images: (N, C, H, W) float.
            targets: class distributions (N, K).
            generator: a CPU `torch.Generator`; all randomness comes from it.

        Returns:
            Images and class distributions of the same shapes; or of more samples than the batch of N has, whose mean
            losses the trainer adds up by their number over N.
        """


class Head(Method, ABC):
    """A module trained with the backbone that changes the logits from the representation.

    ``own_logits``: whether the head computes the logits from the features itself; then the backbone's classifier is not
    used. Other heads divide its logits.
    """

    kind = "head"
    own_logits: ClassVar[bool] = False

    def check(self, backbone: BackboneInfo) -> None:
        """Raise an `InputError` with the reason where this head cannot work on `backbone`."""

    def default_objective(self) -> Objective:
        """The objective of a recipe that names this head and no objective."""
        return registry.create("cross-entropy")

    def note(self, backbone: BackboneInfo) -> str | None:
        """A remark that the tables print for this head on `backbone`, or None."""
        return None

    @abstractmethod
    def build(self, backbone: BackboneInfo, num_classes: int) -> "HeadModule":
        """Make the module for features of `backbone` and `num_classes` classes."""


class HeadModule(nn.Module, ABC):
    """What a `Head` builds."""

    @abstractmethod
    def forward(self, representation: Representation) -> tuple[Tensor, Tensor | None]:
        """Return the changed logits (N, K) and the temperature per sample (N,), or None where it has none."""


def require(condition: bool, reason: str) -> None:
    """Raise an `InputError` with `reason` unless `condition` is true."""
    if not condition:
        raise InputError(reason)
