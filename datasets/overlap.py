"""A synthetic dataset of overlapping classes, with the true class posterior in closed form."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.seeds import seed_for
from calbench.datasets.base import Dataset, Split, Splits, register, registry

Size = Annotated[int, Field(ge=1)]


@register("overlap", label="Overlap", paper="chidambaram2024limitations")
@dataclass
class Overlap(Dataset):
    """Class prototypes plus Gaussian noise: x = mu_k + noise * N(0, I), k uniform over the classes.

    The prototypes mu_k are the class means of the training pool of a registered dataset, pixels in 0..1. With
    probability `label_noise` the label is resampled from all K classes, so the true posterior is
    ``(1 - label_noise) softmax_k(-|x - mu_k|^2 / (2 noise^2)) + label_noise / K``, exact for every image.

    At the default noise the Bayes accuracy on digits' prototypes is 85 %. After Chidambaram and Ge (2024), whose
    overlapping classes and label noise show where Mixup helps and where it hurts.
    """

    has_posterior = True

    prototypes: str = "digits"
    noise: Annotated[float, Field(gt=0)] = 0.5
    train: Size = 12000
    test: Size = 5000
    label_noise: Annotated[float, Field(ge=0, le=1)] = 0.0
    seed: Annotated[int, Field(ge=0)] = 0

    def __post_init__(self) -> None:
        """Check the options, and that the prototypes' dataset is a registered one with images of one size."""
        super().__post_init__()
        if self.prototypes == self.spec.name:
            raise InputError("overlap: its prototypes cannot come from overlap itself")
        source = self._source
        self.num_classes = source.num_classes
        self.channels = source.channels
        self.image_size = source.image_size
        self.mean = source.mean
        # The spread over a class-balanced sample is the source's own and the noise's together.
        self.std = tuple(round(float(np.hypot(s, self.noise)), 4) for s in source.std)

    @property
    def _source(self) -> Dataset:
        return registry.create(self.prototypes)

    def load(self, root: Path) -> Splits:
        """Generate both splits; the prototypes' dataset is read from `root`."""
        means = class_means(self._source.load(root).train, self.num_classes)
        # A stream for each split: the test images stay the same whatever the number of training images.
        streams = [np.random.default_rng(seed_for(self.seed, "overlap", split)) for split in ("train", "test")]
        return Splits(self._draw(means, self.train, streams[0]), self._draw(means, self.test, streams[1]))

    def identity(self) -> dict[str, Any]:
        """As of every component, with the identity of the dataset that the prototypes come from."""
        return super().identity() | {"prototypes": self._source.identity()}

    def fingerprint(self, root: Path) -> str:
        """The fingerprint of the prototypes' dataset; everything else is an option."""
        return self._source.fingerprint(root)

    def _draw(self, means: np.ndarray, size: int, generator: np.random.Generator) -> Split:
        classes = generator.integers(self.num_classes, size=size)
        images = means[classes] + self.noise * generator.standard_normal((size, *means.shape[1:]))
        images = torch.from_numpy(images.astype(np.float32))
        redrawn = generator.random(size) < self.label_noise
        labels = np.where(redrawn, generator.integers(self.num_classes, size=size), classes)
        posterior = gaussian_posterior(images, torch.from_numpy(means), self.noise)
        posterior = (1 - self.label_noise) * posterior + self.label_noise / self.num_classes
        return Split(images, torch.from_numpy(labels), posterior)


def class_means(split: Split, num_classes: int) -> np.ndarray:
    """Mean image of each class, float64 (K, C, H, W), 8-bit images scaled to 0..1.

    Raises:
        InputError: the split streams from disk, or a class has no image.
    """
    if not isinstance(split.images, Tensor):
        raise InputError("overlap: its prototypes need a dataset that fits in memory")
    scale = 255.0 if split.images.dtype == torch.uint8 else 1.0
    means = []
    for k in range(num_classes):
        images = split.images[split.labels == k]
        if not len(images):
            raise InputError(f"overlap: class {k} of its prototypes has no image")
        means.append(images.double().mean(0) / scale)
    return torch.stack(means).numpy()


def gaussian_posterior(images: Tensor, means: Tensor, noise: float) -> Tensor:
    """Class posterior (N, K) float64 of images (N, ...) under equal priors and N(mean_k, noise^2 I)."""
    flat, centres = images.double().flatten(1), means.double().flatten(1)
    distances = torch.cdist(flat, centres, compute_mode="donot_use_mm_for_euclid_dist").square()
    return (-distances / (2 * noise**2)).softmax(dim=1)
