"""Cells that are derived from trained ones: a network's variants, and ensembles of cells."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from calbench.benchmark.backbones import Backbone
from calbench.benchmark.config.cell import Cell, Keyed
from calbench.benchmark.config.entry import Recipe
from calbench.benchmark.core.hashing import digest
from calbench.benchmark.core.sources import source_digest
from calbench.benchmark.variants import Variant
from calbench.datasets import Dataset
from calbench.methods import Calibrator

AFFECTS_RESULTS = False
PREDICTING = "calbench.benchmark.training.variants:predict_variants"
POOLING = "calbench.benchmark.execution.derive:pooled_predictions"


@dataclass(frozen=True, eq=False)
class VariantCell(Keyed):
    """The predictions of a trained cell under variants of its network. Its folder is next to the cell's own."""

    cell: Cell
    variants: tuple[Variant, ...]

    @property
    def dataset(self) -> Dataset:
        """Of the trained cell."""
        return self.cell.dataset

    @property
    def backbone(self) -> Backbone:
        """Of the trained cell."""
        return self.cell.backbone

    @property
    def seed(self) -> int:
        """Of the trained cell."""
        return self.cell.seed

    @property
    def split_seed(self) -> int:
        """Of the trained cell."""
        return self.cell.split_seed

    @property
    def recipe(self) -> Recipe:
        """Of the trained cell."""
        return self.cell.recipe

    @property
    def calibration(self) -> str:
        """As of the trained cell."""
        return self.cell.calibration

    @property
    def recipe_name(self) -> str:
        """Recipe and variants."""
        return " + ".join([self.cell.recipe_name, *(variant.spelled() for variant in self.variants)])

    @property
    def sources(self) -> tuple[Keyed, ...]:
        """The cells that must be done first."""
        return (self.cell,)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The trained cell, the variants and the code that predicts."""
        return {
            "cell": self.cell.key,
            "variants": [variant.identity() for variant in self.variants],
            "code": source_digest(PREDICTING),
        }

    @cached_property
    def key(self) -> str:
        """The key of the trained cell, and a hash of the variants."""
        return f"{self.cell.key}-{digest(self.identity)}"


@dataclass(frozen=True, eq=False)
class EnsembleCell(Keyed):
    """The pooled predictions of cells that differ by their seed; the first member gives its folder and its seed."""

    members: tuple[Cell | VariantCell, ...]
    calibrators: tuple[Calibrator, ...]
    pooling: Variant

    @property
    def dataset(self) -> Dataset:
        """Of the members."""
        return self.members[0].dataset

    @property
    def backbone(self) -> Backbone:
        """Of the members."""
        return self.members[0].backbone

    @property
    def seed(self) -> int:
        """Of the first member."""
        return self.members[0].seed

    @property
    def recipe(self) -> Recipe:
        """Of the members."""
        return self.members[0].recipe

    @property
    def calibration(self) -> str:
        """As of the members."""
        return self.members[0].calibration

    @property
    def recipe_name(self) -> str:
        """Recipe, variants, calibrators of the members, and the pooling."""
        parts = [calibrator.spelled() for calibrator in self.calibrators]
        return " + ".join([self.members[0].recipe_name, *parts, self.pooling.spelled()])

    @property
    def sources(self) -> tuple[Keyed, ...]:
        """The cells that must be done first."""
        return self.members

    @property
    def shared_calibration(self) -> bool:
        """Whether all members have the same calibration split."""
        return len({member.split_seed for member in self.members}) == 1

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The members, the calibrators of each, and the code that pools."""
        return {
            "members": [member.key for member in self.members],
            "calibrators": [calibrator.identity() for calibrator in self.calibrators],
            "pooling": self.pooling.identity(),
            "code": source_digest(POOLING),
        }

    @cached_property
    def key(self) -> str:
        """The key of the first member's trained cell, and a hash of the ensemble."""
        return f"{self.members[0].key.partition('-')[0]}-{digest(self.identity)}"
