"""Attention temperature: softmax(Q K^T / (T sqrt d)) in every block of a trained transformer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from calbench.benchmark.backbones import DataConfig
from calbench.benchmark.backbones.attention import attention_blocks, query_temperature
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.variants._base import Draw, Forward, Variant, register, require_attention
from calbench.datasets import Dataset
from calbench.methods import BackboneInfo, Outputs

Positive = Annotated[float, Field(gt=0)]


@register("attention-temperature", label="Attn-T", paper="gu2022patch")
@dataclass
class AttentionTemperature(Variant):
    """softmax(Q K^T / (T sqrt d)) in every block; T > 1 smooths attention, T < 1 sharpens it.

    With ``grid`` every T of it is predicted and cached, and the one with the lowest NLL on the calibration split is
    taken, for each checkpoint rule. The relative-position bias of Swin is not divided: the temperature acts on the
    content part of its scores only. T = 1 gives the same bits as no variant.

    Smoothing against patch perturbations: Gu, Tresp and Qin 2022, arXiv 2111.10659. Sharpening against length collapse:
    Zhou et al. 2025, arXiv 2410.24200.

    Args:
        temperature: T, if it is given.
        grid: temperatures to choose from, instead of one.
    """

    temperature: Positive | None = None
    grid: tuple[Positive, ...] = ()

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            InputError: neither or both of temperature and grid, or a grid with one value twice.
        """
        super().__post_init__()
        if (self.temperature is None) == (not self.grid):
            raise InputError("attention-temperature: set temperature=T, or grid=[T, T, ...] to choose from")
        if len(set(self.grid)) != len(self.grid):
            raise InputError("attention-temperature: the grid has a temperature twice")

    def spelled(self) -> str:
        """As a suite has it; a grid in square brackets, so that it can be read back."""
        if self.temperature is not None:
            return super().spelled()
        return f"{self.spec.name}(grid={list(self.grid)})"

    def candidates(self) -> Sequence[Variant]:
        """One variant per temperature of the grid."""
        return [AttentionTemperature(temperature=temperature) for temperature in self.grid]

    def check(self, backbone: BackboneInfo, dataset: Dataset) -> None:
        """Refuse a network without attention."""
        require_attention(self.spec.name, backbone)

    def prepare(self, network: nn.Module, config: DataConfig) -> None:
        """Check that the network's attention is known."""
        attention_blocks(network)

    def wrap(self, forward: Forward, network: nn.Module, config: DataConfig, dataset: Dataset) -> Forward:
        """The forward pass with the queries of every block divided by T."""
        temperature = self.temperature
        if temperature is None:
            raise InputError("attention-temperature: a grid is not a temperature; its candidates are predicted")

        def tempered(images: Tensor, draw: Draw) -> Outputs:
            with query_temperature(network, temperature):
                return forward(images, draw)

        return tempered
