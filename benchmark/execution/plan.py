"""The plan: which cells the entries of a suite need, each once, and what each cell is called in the cache."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from calbench.benchmark.backbones import Backbone
from calbench.benchmark.config.entry import DEFAULT_OBJECTIVE, Entry, Recipe, parse_entry
from calbench.benchmark.config.suite import PredictionSource, Suite
from calbench.benchmark.config.training import CheckpointRule, TrainingConfig
from calbench.benchmark.core.errors import InputError
from calbench.datasets import Dataset

IDENTITY_FORMAT = 1
"""Raised when the training code changes predictions for every method alike; part of every key."""


def digest(value: Any) -> str:
    """A short stable hash of plain data."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return value.name
    raise TypeError(f"{type(value).__name__} is no plain data")


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


@dataclass(frozen=True)
class Work:
    """A cell and the entries that are evaluated on its predictions.

    ``oracle`` says whether the Bayes posterior is evaluated here too: in the first recipe's cells where it is known.
    """

    cell: Cell | FileCell
    entries: tuple[Entry, ...]
    oracle: bool = False


def make_plan(suite: Suite, fingerprint: Callable[[Dataset], str]) -> list[Work]:
    """List the cells that `suite` needs, each once, seed by seed so that an early stop leaves whole tables.

    Args:
        suite: the checked suite.
        fingerprint: gives a dataset's content hash; called once per dataset.
    """
    groups: dict[str, tuple[Recipe, list[Entry]]] = {}
    for entry in suite.entries:
        groups.setdefault(digest(entry.recipe.identity()), (entry.recipe, []))[1].append(entry)
    prints = {id(dataset): fingerprint(dataset) for dataset in suite.datasets}
    training = {(id(d), id(b)): suite.training_for(d, b) for d in suite.datasets for b in suite.backbones}
    first = next(iter(groups.values()))[0]
    trained = [
        Work(
            Cell(
                dataset,
                prints[id(dataset)],
                backbone,
                recipe,
                seed,
                training[id(dataset), id(backbone)],
                suite.protocol.calibration_fraction,
                suite.protocol.checkpoints,
            ),
            tuple(entries),
            oracle=dataset.has_posterior and recipe is first,
        )
        for seed in suite.seeds
        for dataset in suite.datasets
        for backbone in suite.backbones
        for recipe, entries in groups.values()
    ]
    return trained + _given(suite, [groups[key] for key in groups if key == digest(_untrained().identity())])


def _untrained() -> Recipe:
    """The recipe that stands for "as the file has it": no training-time method."""
    return parse_entry(DEFAULT_OBJECTIVE).recipe


def _given(suite: Suite, groups: list[tuple[Recipe, list[Entry]]]) -> list[Work]:
    """The cells of the suite's files of predictions: training-time methods cannot be applied to them any more."""
    sources = [(source, file_fingerprint(source)) for source in suite.config.predictions]
    return [
        Work(FileCell(source, fingerprint, recipe, seed), tuple(entries))
        for seed in suite.seeds
        for source, fingerprint in sources
        for recipe, entries in groups
    ]
