"""RegMixup: mixed samples next to the unchanged ones."""

from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.augmentations._mixing import mix_points
from calbench.methods.base import Augmentation, register


@register("reg-mixup", label="RegMixup", paper="pinto2022regmixup")
@dataclass
class RegMixup(Augmentation):
    """CE(x_i, t_i) + CE(lambda x_i + (1 - lambda) x_j, lambda t_i + (1 - lambda) t_j), lambda ~ Beta(alpha, alpha).

    A batch of N samples becomes one of 2 N, the unchanged ones first, whose losses are added (the weight of the second
    term is 1). Large alpha make lambda near 1/2: the mixed samples are far from the data, and ask for low confidence
    there. The authors' code takes the mean over all 2 N, half of this loss. Each epoch costs twice the time. The halves
    pass the network one after the other unless ``micro_batch`` is set, so that batch norm has statistics of each; the
    authors' code passes both at once.

    Pinto et al. 2022, arXiv 2206.14502; alpha 20 for CIFAR, 10 for ImageNet there.
    """

    alpha: Annotated[float, Field(gt=0)] = 20.0
    tune_grid = (("alpha", (5.0, 10.0, 20.0, 30.0)),)

    def mix(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images (2 N, C, H, W) and distributions (2 N, K): the batch, then its mixture."""
        mixed_images, mixed_targets = mix_points(images, targets, 2, self.alpha, generator)
        return torch.cat([images, mixed_images]), torch.cat([targets, mixed_targets])
