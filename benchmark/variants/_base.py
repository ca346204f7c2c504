"""The base class of variants: a changed forward pass, and the number of passes."""

from abc import ABC
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from calbench.benchmark.backbones import DataConfig
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import Component, Registry
from calbench.benchmark.core.seeds import seed_for
from calbench.datasets import Dataset
from calbench.methods import BackboneInfo, Outputs


@dataclass(frozen=True)
class Draw:
    """Which random numbers a forward pass takes: a function of the cell's seed, the split, the pass and the batch."""

    seed: int
    split: str
    pass_index: int = 0
    batch: int = 0

    def number(self, purpose: str, *index: int) -> int:
        """The seed of the stream for `purpose`."""
        return seed_for(self.seed, purpose, self.split, self.pass_index, self.batch, *index)

    def generator(self, purpose: str, *index: int) -> torch.Generator:
        """A CPU generator for `purpose`."""
        return torch.Generator().manual_seed(self.number(purpose, *index))


Forward = Callable[[Tensor, Draw], Outputs]
"""Images (N, C, S, S), normalised, to outputs."""


class Variant(Component, ABC):
    """Base of all variants; dataclass fields are the options.

    A variant may change the network's input (`config`), the network itself once (`prepare`), and every forward pass
    (`wrap`). With more than one pass, probabilities are averaged.
    """

    kind: ClassVar[str] = "variant"
    needs: ClassVar[frozenset[str]] = frozenset()
    keeps_accuracy: ClassVar[bool] = False
    pools: ClassVar[bool] = False
    """Whether it pools cells that differ by their seed; it is then the last variant of an entry."""

    @property
    def passes(self) -> int:
        """Forward passes per image."""
        return 1

    def candidates(self) -> Sequence["Variant"]:
        """The variants from which the one with the lowest NLL on the calibration split is taken; usually none."""
        return ()

    def check(self, backbone: BackboneInfo, dataset: Dataset) -> None:
        """Raise an `InputError` with the reason where this variant cannot work."""

    def config(self, config: DataConfig) -> DataConfig:
        """The network's input, changed."""
        return config

    def prepare(self, network: nn.Module, config: DataConfig) -> None:
        """Change a network that was loaded for this variant, in place.

        Raises:
            InputError: the network lacks what the variant acts on.
        """

    def wrap(self, forward: Forward, network: nn.Module, config: DataConfig, dataset: Dataset) -> Forward:
        """The forward pass, changed."""
        return forward


registry: Registry[type[Variant]] = Registry("variant")
register = registry.register


def require_attention(name: str, backbone: BackboneInfo) -> None:
    """Raise an `InputError` where `backbone` has no patch tokens, and so no attention."""
    if not backbone.has_patch_tokens:
        raise InputError(f"{name} acts inside attention, and {backbone.name} has none")
