"""Shared code of the mixing augmentations: Dirichlet weights from a torch generator, and convex combinations."""

import numpy as np
import torch
from torch import Tensor

from calbench.benchmark.core.seeds import seed_for


def mix_points(
    images: Tensor, targets: Tensor, points: int, alpha: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Combine every sample with `points` - 1 others of the batch, with the same Dirichlet weights for the whole batch.

    torch's distributions take no generator, so NumPy samples the weights, seeded by one number from `generator`.

    Args:
        images: (N, C, H, W) float.
        targets: class distributions (N, K).
        points: how many samples a combination has, the sample itself included.
        alpha: the parameter of the symmetric Dirichlet distribution (of the Beta distribution for two points).
        generator: a CPU generator; all randomness comes from it.

    Returns:
        Mixed images and targets of the same shapes and types.
    """
    seed = int(torch.randint(2**63 - 1, (), generator=generator))
    weights = np.random.default_rng(seed_for(seed, "mixing")).dirichlet([alpha] * points).tolist()
    mixed_images, mixed_targets = weights[0] * images, weights[0] * targets
    for weight in weights[1:]:
        partners = torch.randperm(len(images), generator=generator).to(images.device)
        mixed_images = mixed_images.add(images[partners], alpha=weight)
        mixed_targets = mixed_targets.add(targets[partners], alpha=weight)
    return mixed_images, mixed_targets
