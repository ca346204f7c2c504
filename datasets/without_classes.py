"""A dataset with some classes held out; their test images are near out-of-distribution data."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from calbench.benchmark.core.errors import InputError
from calbench.datasets.base import Dataset, Split, Splits, register, registry


@register("without-classes", label="Without classes")
@dataclass(kw_only=True)
class WithoutClasses(Dataset):
    """A dataset without the classes `held_out`; the others are numbered in their order.

    `dataset` is a registered name, `settings` its options.
    """

    dataset: str
    held_out: Annotated[tuple[int, ...], Field(min_length=1)]
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the options, and that the classes exist and leave at least two.

        Raises:
            InputError: a class that the dataset does not have, one named twice, or fewer than two classes left.
        """
        super().__post_init__()
        if self.dataset == self.spec.name:
            raise InputError("without-classes: name the dataset itself, and all classes to hold out at once")
        self.source: Dataset = registry.create(self.dataset, **self.settings)
        total = self.source.num_classes
        for one in self.held_out:
            if not 0 <= one < total:
                raise InputError(
                    f"{self.source.spelled()} has no class {one} to hold out; its classes are 0 to {total - 1}"
                )
        if len(set(self.held_out)) < len(self.held_out):
            raise InputError(f"held-out classes {list(self.held_out)}: a class is named twice")
        self.num_classes = total - len(self.held_out)
        if self.num_classes < 2:
            raise InputError(
                f"{self.source.spelled()}: {self.num_classes} class(es) would be left without the held-out ones"
            )
        self.channels, self.image_size = self.source.channels, self.source.image_size
        self.mean, self.std = self.source.mean, self.source.std
        self.crop_padding, self.horizontal_flip = self.source.crop_padding, self.source.horizontal_flip  # type: ignore[misc]

    def spelled(self) -> str:
        """The dataset and the classes it is without: ``digits-without-3-5``."""
        return f"{self.source.spelled()}-without-{'-'.join(map(str, self.held_out))}"

    def identity(self) -> dict[str, Any]:
        """As of every component, with the identity of the dataset in place of its options."""
        plain = super().identity()
        return plain | {"options": {"held_out": list(self.held_out)}, "dataset": self.source.identity()}

    def load(self, root: Path) -> Splits:
        """The training pool and the test split of the classes that are left."""
        splits = self.source.load(root)
        return Splits(self._kept(splits.train), self._kept(splits.test))

    def load_held_out(self, root: Path) -> Split:
        """The test images of the held-out classes, labelled as in the whole dataset."""
        test = self.source.load(root).test
        return test.subset(self._held(test.labels).nonzero().flatten())

    def fingerprint(self, root: Path) -> str:
        """The fingerprint of the whole dataset; the classes are an option."""
        return self.source.fingerprint(root)

    def _held(self, labels: Tensor) -> Tensor:
        return torch.isin(labels, torch.tensor(self.held_out))

    def _kept(self, split: Split) -> Split:
        part = split.subset((~self._held(split.labels)).nonzero().flatten())
        kept = torch.tensor([k for k in range(self.source.num_classes) if k not in self.held_out])
        return Split(part.images, torch.searchsorted(kept, part.labels))
