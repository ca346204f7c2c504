"""RandAugment."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Generator, Tensor

from calbench.methods.base import register
from calbench.methods.running import StagedAugmentation, seed_from


@register("rand-augment", label="RandAugment", paper="cubuk2020randaugment")
@dataclass
class RandAugment(StagedAugmentation):
    """x -> t_n(... t_1(x)), n = ``operations`` transformations t of 14, each at the strength ``magnitude``.

    Applied to the 8-bit image after cropping and mirroring and before resizing and normalising; by torchvision, whose
    strengths have ``magnitude`` 0..30 where the paper's tables count to 10 or 30 depending on the experiment, and
    whose list of operations contains the identity. An operation acts in a random direction where it has two. Each image
    has its own operations.

    Cubuk et al. 2020, arXiv 1909.13719; n 2 and magnitude 9 for ImageNet and ResNet-50 there.
    """

    operations: Annotated[int, Field(ge=1)] = 2
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9
    tune_grid = (("magnitude", (3, 6, 9, 14)),)

    def augment(self, images: Tensor, generator: Generator) -> Tensor:
        """Changed images (N, C, H, W) uint8; all randomness comes from `generator`."""
        from torchvision.transforms import RandAugment as Operations  # takes a second to import

        change = Operations(num_ops=self.operations, magnitude=self.magnitude)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_from(generator))
            return torch.stack([change(image) for image in images])
