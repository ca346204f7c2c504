"""The plan: which cells the entries of a suite need, each once, and what each cell is called in the cache."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..datasets import Dataset
from .entry import Entry, Recipe
from .suite import Suite
from .training_config import TrainingConfig

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


@dataclass(frozen=True, eq=False)
class Cell:
    """One training run: dataset x backbone x recipe x seed. A value; its `key` depends on nothing but the value."""

    dataset: Dataset
    fingerprint: str
    backbone: Any
    recipe: Recipe
    seed: int
    training: TrainingConfig
    calibration_fraction: float
    checkpoints: tuple[str, ...]

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

    @cached_property
    def key(self) -> str:
        """The name of the cell in the cache."""
        return digest(self.identity)

    def describe(self) -> str:
        """One line for people."""
        return f"{self.dataset.spelled()} / {self.backbone.spelled()} / {self.recipe.name} / seed {self.seed}"


@dataclass(frozen=True)
class Work:
    """A cell and the entries that are evaluated on its predictions."""

    cell: Cell
    entries: tuple[Entry, ...]


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
    return [
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
        )
        for seed in suite.seeds
        for dataset in suite.datasets
        for backbone in suite.backbones
        for recipe, entries in groups.values()
    ]
