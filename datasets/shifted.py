"""Published shifted test sets of a dataset: corrupted images, newly collected ones, other styles."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import Component, Registry
from calbench.datasets.base import Dataset, Split


class ShiftedSet(Component, ABC):
    """Base of all shifted test sets; dataclass fields are the options.

    A subclass sets ``of``: the names of the datasets whose classes it has; ``already_cropped``: whether streamed images
    have the network's size already; ``note``: a remark for the tables.
    """

    of: ClassVar[tuple[str, ...]]
    already_cropped: ClassVar[bool] = False
    note: ClassVar[str] = ""

    def check(self, dataset: Dataset) -> None:
        """Raise an `InputError` where this set does not belong to `dataset`."""
        if dataset.spec.name not in self.of:
            raise InputError(f"{self.spec.name} is a test set of {' and '.join(self.of)}, not of {dataset.spelled()}")

    @abstractmethod
    def split_names(self) -> list[str]:
        """The names of its splits, such as ``fog-3``; one whose name ends in ``-<severity>`` has that severity."""

    @abstractmethod
    def load(self, name: str, dataset: Dataset, root: Path) -> Split:
        """One split, with labels numbered as in `dataset`.

        Raises:
            InputError: files are missing or damaged; the message says what to do.
        """

    @abstractmethod
    def fingerprint(self, dataset: Dataset, root: Path) -> str:
        """A short hash of the content, cheap to take.

        Raises:
            InputError: files are missing; the message says what to do.
        """

    def classes(self, dataset: Dataset, root: Path) -> tuple[int, ...] | None:
        """The classes that occur, where they are a part of the dataset's: predictions are restricted to them."""
        return None


SEVERITIES = 5
COMMON_CORRUPTIONS = (
    "brightness", "contrast", "defocus_blur", "elastic_transform", "fog", "frost", "gaussian_noise", "glass_blur",
    "impulse_noise", "jpeg_compression", "motion_blur", "pixelate", "shot_noise", "snow", "zoom_blur",
)  # fmt: skip
"""Those that results are averaged over (Hendrycks and Dietterich 2019), by the names of the published files."""


@dataclass(kw_only=True)
class CorruptedSet(ShiftedSet, ABC):
    """Base of published sets with a split for each corruption and severity."""

    corruptions: tuple[str, ...] = COMMON_CORRUPTIONS
    severities: tuple[Annotated[int, Field(ge=1, le=SEVERITIES)], ...] = (1, 2, 3, 4, 5)

    def split_names(self) -> list[str]:
        """``gaussian_noise-1`` and so on."""
        return [f"{name}-{severity}" for name in self.corruptions for severity in self.severities]


registry: Registry[type[ShiftedSet]] = Registry("shifted-set")
register = registry.register
