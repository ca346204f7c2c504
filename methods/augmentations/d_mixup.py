"""Mixup of more than two points."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.augmentations._mixing import mix_points
from calbench.methods.base import Augmentation, register


@register("d-mixup", label="d-Mixup", paper="chidambaram2024limitations")
@dataclass
class DMixup(Augmentation):
    """sum_i w_i x_i over d + 1 points with w ~ Dirichlet(alpha, ..., alpha), targets alike.

    Chidambaram and Ge 2024, arXiv 2306.00740, with one w per batch and the partners d random permutations of it, and
    alpha 1, as in the authors' code (which mixes d = 1, 2 and 4). d = 1 is mixup with the same alpha.
    """

    d: Annotated[int, Field(ge=1)] = 2
    alpha: Annotated[float, Field(gt=0)] = 1.0
    tune_grid = (("alpha", (0.2, 0.5, 1.0, 2.0)),)

    def mix(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mix images (N, C, H, W) and distributions (N, K); all randomness comes from `generator` on the CPU."""
        return mix_points(images, targets, self.d + 1, self.alpha, generator)
