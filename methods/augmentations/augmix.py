"""AugMix with its consistency loss."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor

from calbench.methods.base import Outputs, register
from calbench.methods.losses._functions import full_precision
from calbench.methods.running import Combine, LossOf, StagedAugmentation, ViewAugmentation, rows_of, seed_from


@register("augmix", label="AugMix", paper="hendrycks2020augmix")
@dataclass
class AugMix(StagedAugmentation, ViewAugmentation):
    """loss(z(x), y) + weight JS(p(x); p(x'); p(x'')), JS the Jensen-Shannon divergence of the three predictions.

    x' and x'' are mixtures (1 - m) x + m sum_i w_i t_i(x) with m ~ Beta(1, 1), w ~ Dirichlet(1, 1, 1) and chains t_i of
    one to three operations at the strength ``severity``, which contain no brightness, contrast, colour or sharpness
    (they are in the corruptions that are tested on). JS = (KL(p || M) + KL(p' || M) + KL(p'' || M)) / 3, M the mean of
    the three. Only the unchanged images enter the loss of the recipe. Mixed by torchvision in 8 bits, where the
    authors' code mixes normalised floats. Every epoch costs three passes.

    Hendrycks et al. 2020, arXiv 1912.02781, equations 1 and 2; weight 12 and severity 3 there.
    """

    weight: Annotated[float, Field(ge=0)] = 12.0
    severity: Annotated[int, Field(ge=1, le=10)] = 3
    tune_grid = (("weight", (3.0, 6.0, 12.0, 20.0)),)
    passes: ClassVar[int] = 3

    def augment(self, images: Tensor, generator: Generator) -> Tensor:
        """The images and two mixtures of each (3 N, C, H, W) uint8; all randomness comes from `generator`."""
        from torchvision.transforms import AugMix as Mixing  # takes a second to import

        mix = Mixing(severity=self.severity, all_ops=False)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_from(generator))
            return torch.cat([images, *(torch.stack([mix(image) for image in images]) for _ in range(2))])

    def views(self, images: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Combine]:
        """The three views as `augment` made them (3 N, C, H, W), and the loss of their outputs."""

        def combine(outputs: Outputs, loss: LossOf) -> Tensor:
            plain = loss(rows_of(outputs, slice(len(labels))), labels)
            return plain + self.weight * divergence(full_precision(outputs.logits).log_softmax(dim=1), 3)

        return images, combine


def divergence(log_p: Tensor, views: int) -> Tensor:
    """The mean Jensen-Shannon divergence of `views` predictions of each sample, from log-probabilities (V N, K)."""
    log_p = log_p.view(views, -1, log_p.shape[1])
    mean = log_p.logsumexp(dim=0) - torch.tensor(float(views), dtype=log_p.dtype).log()
    return (log_p.exp() * (log_p - mean)).sum(dim=2).mean()
