"""Mixup inference in training: mixed samples whose outputs are decoded again."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Generator, Tensor

from calbench.benchmark.core.seeds import seed_for
from calbench.methods.base import Outputs, register
from calbench.methods.running import Combine, LossOf, ViewAugmentation, seed_from


@register("mit-l", label="MIT-L", paper="wang2023pitfall")
@dataclass
class MixupInferenceInTraining(ViewAugmentation):
    """(loss(d_i, y_i) + loss(d_j, y_j)) / 2, d decoded from z_a = z(a x_i + (1 - a) x_j) and z_b, with b for a.

    With a > b the two outputs of a pair are taken as mixtures of d_i and d_j with the same weights, so that
    d_i = ((1 - b) z_a - (1 - a) z_b) / (a - b) and d_j = (a z_b - b z_a) / (a - b). The labels are not mixed. a is the
    larger share of a draw from Beta(alpha, alpha) and b the smaller of another, drawn again until a - b >= ``margin``.
    One a and b per batch and the partners j a random permutation of it. Every epoch costs two passes.

    Wang et al. 2023 (On the Pitfall of Mixup for Uncertainty Calibration), the variant that decodes in the last layer,
    as in the authors' code: alpha 0.5 and margin 0.5 there. MIT-A, which decodes and mixes again between the blocks of
    a ResNet, is not here: it depends on the network.
    """

    alpha: Annotated[float, Field(gt=0)] = 0.5
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.5
    tune_grid = (("alpha", (0.2, 0.5, 1.0, 2.0)),)
    passes: ClassVar[int] = 2

    def views(self, images: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Combine]:
        """Two mixtures of every sample (2 N, C, H, W), and the loss of their decoded outputs."""
        a, b = self._weights(generator)
        partners = torch.randperm(len(images), generator=generator).to(images.device)
        others = images[partners]
        mixed = torch.cat([a * images + (1 - a) * others, b * images + (1 - b) * others])

        def combine(outputs: Outputs, loss: LossOf) -> Tensor:
            own, other = _decoded(outputs, a, b)
            return (loss(own, labels) + loss(other, labels[partners])) / 2

        return mixed, combine

    def _weights(self, generator: Generator) -> tuple[float, float]:
        stream = np.random.default_rng(seed_for(seed_from(generator), "mit"))
        while True:
            first, second = stream.beta(self.alpha, self.alpha, 2)
            a, b = max(first, 1 - first), min(second, 1 - second)
            if a - b >= self.margin:
                return float(a), float(b)


def _decoded(outputs: Outputs, a: float, b: float) -> tuple[Outputs, Outputs]:
    """The outputs of the samples and of their partners."""

    def decode(values: Tensor) -> tuple[Tensor, Tensor]:
        za, zb = values.chunk(2)
        return ((1 - b) * za - (1 - a) * zb) / (a - b), (a * zb - b * za) / (a - b)

    pairs = zip(decode(outputs.logits), decode(outputs.raw_logits), strict=True)
    own, other = (Outputs(logits, raw) for logits, raw in pairs)
    return own, other
