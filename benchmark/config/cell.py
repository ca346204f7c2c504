"""Cells: the units of a run. A cell's key is a hash of everything that determines its predictions."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from calbench.benchmark.backbones import Backbone
from calbench.benchmark.config.entry import Recipe
from calbench.benchmark.config.suite import PredictionSource
from calbench.benchmark.config.training import CheckpointRule, TrainingConfig
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.hashing import digest
from calbench.datasets import Dataset

IDENTITY_FORMAT = 1
"""Raised when the training code changes predictions for every method alike; part of every key."""


@dataclass(frozen=True)
class Given:
    """The name of a dataset or backbone that stands in a file of predictions and not here."""

    name: str
    has_posterior: ClassVar[bool] = False

    def spelled(self) -> str:
        """The name."""
        return self.name


class Keyed(ABC):
    """What every cell has: the parts that tables name, an identity, and the key that follows from it."""

    dataset: Dataset | Given
    backbone: Backbone | Given
    recipe: Recipe
    seed: int

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What determines the predictions, as plain data."""

    @cached_property
    def key(self) -> str:
        """The name of the cell in the cache."""
        return digest(self.identity)

    def describe(self) -> str:
        """One line for people."""
        return f"{self.dataset.spelled()} / {self.backbone.spelled()} / {self.recipe.name} / seed {self.seed}"


@dataclass(frozen=True, eq=False)
class Cell(Keyed):
    """One training run: dataset x backbone x recipe x seed. A value; its `key` depends on nothing but the value."""

    dataset: Dataset
    fingerprint: str
    backbone: Backbone
    recipe: Recipe
    seed: int
    training: TrainingConfig
    calibration_fraction: float
    checkpoints: tuple[CheckpointRule, ...]

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What determines the predictions, as plain data."""
        return {
            "format": IDENTITY_FORMAT,
            "dataset": self.dataset.identity() | {"fingerprint": self.fingerprint},
            "backbone": self.backbone.identity(),
            "recipe": self.recipe.identity(),
            "training": self.training.identity(),
            "calibration_fraction": self.calibration_fraction,
            "checkpoints": sorted(self.checkpoints),
            "seed": self.seed,
        }


@dataclass(frozen=True, eq=False)
class FileCell(Keyed):
    """Predictions that a file holds, in the place of a training run; the seed decides how one split is made two."""

    source: PredictionSource
    fingerprint: str
    recipe: Recipe
    seed: int

    @property
    def dataset(self) -> Given:
        """The dataset that the suite names for the file."""
        return Given(self.source.dataset)

    @property
    def backbone(self) -> Given:
        """The backbone that the suite names for the file."""
        return Given(self.source.backbone)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The content of the files and how they are read."""
        options = self.source.model_dump(mode="json", include={"kind", "split", "key"})
        return {"format": IDENTITY_FORMAT, "predictions": self.fingerprint, **options, "seed": self.seed}


def file_fingerprint(source: PredictionSource) -> str:
    """The hash of the files of a source.

    Raises:
        InputError: a file is not there.
    """
    found = hashlib.sha256()
    for path in filter(None, (source.path, source.test_path)):
        try:
            with Path(path).expanduser().open("rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise InputError(f"predictions {Path(path).name}: {error.strerror or error}") from None
    return found.hexdigest()[:24]
