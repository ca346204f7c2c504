"""Regularised attention: scores that bootstrapped images have too are set to zero."""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from calbench.benchmark.backbones import DataConfig
from calbench.benchmark.backbones.attention import attention_blocks, attention_scores
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.variants._base import Draw, Forward, Variant, register, require_attention
from calbench.benchmark.variants._null import Null, null_images
from calbench.datasets import Dataset
from calbench.methods import BackboneInfo, Outputs


@register("attention-regularised", label="Attn-Reg", paper="chung2026regularizing")
@dataclass
class AttentionRegularised(Variant):
    """Attention scores that are not significant against a bootstrap null are set to zero, and rows are renormalised.

    For each image `draws` null images without its structure are made, and the scores of each block, head, query and key
    in them are the null of this one score: p = (1 + number of null scores that are not smaller) / (1 + draws). A score
    with p > alpha is set to zero. A row without any significant score stays as it is. The null scores are those of the
    plain network; the scores that are tested are those of the regularised one, block after block.

    This costs ``draws + 1`` forward passes with attention that is not fused. There is no correction for the number of
    scores: of pure noise a share alpha stays.

    Args:
        alpha: the level; at least 1 / (1 + draws).
        null: ``pixel`` and ``patch`` draw the pixels or patches of the image with replacement; ``noise`` is Gaussian
            with the mean and deviation of its channels.
        draws: null images per image.

    Chung and Laletin 2026, arXiv 2604.01339; there the scores are regularised as an explanation, not in the network.
    """

    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.05
    null: Null = "pixel"
    draws: Annotated[int, Field(ge=20)] = 20

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            InputError: a level that so few draws cannot reach.
        """
        super().__post_init__()
        if self.kept < 1:
            least = math.ceil(1 / self.alpha) - 1
            raise InputError(f"attention-regularised: alpha={self.alpha} needs draws={least} or more")

    @property
    def kept(self) -> int:
        """A score is significant when it is above the null score of this rank, counted from the largest."""
        return math.floor(self.alpha * (1 + self.draws) + 1e-9)

    def check(self, backbone: BackboneInfo, dataset: Dataset) -> None:
        """Refuse a network without attention."""
        require_attention(self.spec.name, backbone)

    def prepare(self, network: nn.Module, config: DataConfig) -> None:
        """Check that the network's attention is known."""
        attention_blocks(network)

    def wrap(self, forward: Forward, network: nn.Module, config: DataConfig, dataset: Dataset) -> Forward:
        """Null passes first, then the pass with regularised attention."""
        patch = patch_size(network)

        def regularised(images: Tensor, draw: Draw) -> Outputs:
            largest: dict[str, Tensor] = {}

            def record(name: str, scores: Tensor) -> None:
                parts = [largest[name], scores[None]] if name in largest else [scores[None]]
                both = torch.cat(parts)
                largest[name] = both.topk(min(self.kept, len(both)), dim=0).values

            with attention_scores(network, record):
                for index in range(self.draws):
                    generator = draw.generator("attention-null", index)
                    forward(null_images(images, self.null, patch, generator), draw)

            def regularise(name: str, scores: Tensor) -> Tensor:
                return kept_scores(scores, scores > largest[name][-1])

            with attention_scores(network, regularise):
                return forward(images, draw)

        return regularised


def kept_scores(scores: Tensor, significant: Tensor) -> Tensor:
    """Scores (..., keys) with the insignificant ones zero and rows renormalised; rows without any stay as they are."""
    kept = torch.where(significant, scores, torch.zeros_like(scores))
    mass = kept.sum(dim=-1, keepdim=True)
    return torch.where(mass > 0, kept / mass.clamp_min(torch.finfo(scores.dtype).tiny), scores)


def patch_size(network: nn.Module) -> tuple[int, int]:
    """Height and width of a network's patches in pixels; one pixel where it has none."""
    embed: Any = next((m for m in network.modules() if hasattr(m, "patch_size") and hasattr(m, "proj")), None)
    size = getattr(embed, "patch_size", 1)
    return (int(size[0]), int(size[1])) if isinstance(size, tuple | list) else (int(size), int(size))
