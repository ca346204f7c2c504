"""Mixup."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.augmentations._mixing import mix_points
from calbench.methods.base import Augmentation, register


@register("mixup", label="Mixup", paper="zhang2018mixup")
@dataclass
class Mixup(Augmentation):
    """lambda ~ Beta(alpha, alpha); x = lambda x_i + (1 - lambda) x_j, targets alike.

    Zhang et al. 2018, arXiv 1710.09412, with one lambda per batch and the partners j a random permutation of it, as in
    the authors' code; Thulasidasan et al. 2019 (arXiv 1905.11001) for calibration.
    """

    alpha: Annotated[float, Field(gt=0)] = 0.2
    tune_grid = (("alpha", (0.1, 0.2, 0.4, 1.0)),)

    def mix(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mix images (N, C, H, W) and distributions (N, K); all randomness comes from `generator` on the CPU."""
        return mix_points(images, targets, 2, self.alpha, generator)
