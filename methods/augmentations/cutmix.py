"""CutMix."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from calbench.benchmark.core.seeds import seed_for
from calbench.methods.base import Augmentation, register


@register("cutmix", label="CutMix", paper="yun2019cutmix")
@dataclass
class CutMix(Augmentation):
    """x_i with a box of x_j in it; targets lambda t_i + (1 - lambda) t_j, 1 - lambda the share of pixels in the box.

    The box has sides sqrt(1 - l) of the image's with l ~ Beta(alpha, alpha), a uniform centre, and is cut off at the
    border, after which lambda is the share that is left. One box per batch and the partners j a random permutation of
    it, as in the authors' code. Yun et al. 2019, arXiv 1905.04899; alpha 1 there.
    """

    alpha: Annotated[float, Field(gt=0)] = 1.0
    tune_grid = (("alpha", (0.2, 0.5, 1.0, 2.0)),)

    def mix(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Mix images (N, C, H, W) and distributions (N, K); all randomness comes from `generator` on the CPU."""
        seed = int(torch.randint(2**63 - 1, (), generator=generator))
        stream = np.random.default_rng(seed_for(seed, "cutmix"))
        side = (1 - stream.beta(self.alpha, self.alpha)) ** 0.5
        rows, columns = (_interval(length, side, stream) for length in images.shape[2:])
        partners = torch.randperm(len(images), generator=generator).to(images.device)
        mixed = images.clone()
        mixed[:, :, rows, columns] = images[partners][:, :, rows, columns]
        area = (rows.stop - rows.start) * (columns.stop - columns.start) / (images.shape[2] * images.shape[3])
        return mixed, (1 - area) * targets + area * targets[partners]


def _interval(length: int, side: float, stream: np.random.Generator) -> slice:
    """A random part of an axis of `length` pixels, `side` of it long before it is cut off at the border."""
    centre, half = int(stream.integers(length)), int(length * side) // 2
    return slice(max(0, centre - half), min(length, centre + half))
