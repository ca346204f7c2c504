"""Monte Carlo dropout: the mean of the probabilities of passes with dropout on."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from calbench.benchmark.backbones import DataConfig
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.variants._base import Draw, Forward, Variant, register
from calbench.datasets import Dataset
from calbench.methods import Outputs


@register("mc-dropout", label="MC dropout", paper="gal2016dropout")
@dataclass
class MCDropout(Variant):
    """The mean of the probabilities of `n` passes with dropout on; norms and everything else as in evaluation.

    A network that was trained without dropout can be given a `rate`, for its dropout layers outside of attention; that
    is a perturbation which it never saw. The random numbers are seeded by cell, split, pass and batch.

    Args:
        n: passes.
        rate: of every dropout layer; those that the network was trained with if it is not set.

    Gal and Ghahramani 2016, arXiv 1506.02142.
    """

    n: Annotated[int, Field(ge=2)] = 20
    rate: Annotated[float, Field(gt=0, lt=1)] | None = None

    @property
    def passes(self) -> int:
        """The number of passes."""
        return self.n

    def prepare(self, network: nn.Module, config: DataConfig) -> None:
        """Set the rates.

        Raises:
            InputError: the network has no dropout.
        """
        layers = _layers(network)
        if self.rate is not None:
            for layer in layers:
                layer.p = self.rate
        if not any(layer.p > 0 for layer in layers):
            hint = "set rate=0.1, say" if layers else "it has no dropout layers"
            raise InputError(f"mc-dropout: the network was trained without dropout; {hint}")

    def wrap(self, forward: Forward, network: nn.Module, config: DataConfig, dataset: Dataset) -> Forward:
        """The forward pass with dropout on."""
        layers = _layers(network)

        def dropped(images: Tensor, draw: Draw) -> Outputs:
            with _in_training(layers), _seeded(draw.number("mc-dropout"), images.device):
                return forward(images, draw)

        return dropped


def _layers(network: nn.Module) -> list[nn.Dropout]:
    """Dropout layers, but for those of attention scores, which fused attention does not run."""
    return [m for name, m in network.named_modules() if isinstance(m, nn.Dropout) and not name.endswith("attn_drop")]


@contextlib.contextmanager
def _in_training(layers: list[nn.Dropout]) -> Iterator[None]:
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        for layer in layers:
            layer.eval()


@contextlib.contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
