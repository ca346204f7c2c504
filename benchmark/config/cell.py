"""Cells: the units of a run. A cell's key is a hash of everything that determines its predictions."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, ClassVar

from calbench.benchmark import metrics
from calbench.benchmark.backbones import Backbone
from calbench.benchmark.config.entry import Recipe
from calbench.benchmark.config.suite import PredictionSource
from calbench.benchmark.config.training import CheckpointRule, TrainingConfig, followed_metric
from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.hashing import digest
from calbench.benchmark.core.sources import source_digest
from calbench.benchmark.core.text import name as one_name
from calbench.benchmark.predictions.predictions import Predictions
from calbench.datasets import Dataset

AFFECTS_RESULTS = False
UNTRAINED = "calbench.benchmark.training.untrained:predict_untrained"
TRAINING = "calbench.benchmark.training.trainer:train_cell"
EXTENDED = "calbench.benchmark.training.extended:train_extended"
FOLLOWING = "calbench.benchmark.training.following:calibration_metrics"
READING = "calbench.benchmark.predictions.files:read_pair"
GENERATING = "calbench.benchmark.predictions.generated:write_generated"


@dataclass(frozen=True)
class External:
    """The name of a dataset or backbone of which only predictions are known."""

    name: str
    has_posterior: ClassVar[bool] = False

    def spelled(self) -> str:
        """The name, or what is said where it is empty."""
        return one_name(self.name).strip() or "unnamed"


class Keyed(ABC):
    """What every cell has: the parts that tables name, an identity, and the key that follows from it."""

    dataset: Dataset | External
    backbone: Backbone | External
    recipe: Recipe
    seed: int

    @property
    @abstractmethod
    def calibration(self) -> str:
        """One sentence on where the calibration split comes from, printed above every table."""

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What determines the predictions, as plain data."""

    @property
    def recipe_name(self) -> str:
        """What tables call the training-time methods."""
        return self.recipe.name

    @cached_property
    def key(self) -> str:
        """The name of the cell in the cache."""
        return digest(self.identity)

    def describe(self) -> str:
        """One line for people."""
        return f"{self.dataset.spelled()} / {self.backbone.spelled()} / {self.recipe_name} / seed {self.seed}"


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
    calibration_seed: int | None = None
    bins: int = DEFAULT_BINS

    @property
    def split_seed(self) -> int:
        """The seed of the calibration split: the cell's, or one for all cells."""
        return self.seed if self.calibration_seed is None else self.calibration_seed

    @property
    def calibration(self) -> str:
        """The share of the training pool."""
        share = f"{100 * self.calibration_fraction:g} %"
        if self.training.epochs == 0:
            return f"Networks without training; calibration split {share} of the test images, stratified."
        shared = "" if self.calibration_seed is None else ", the same for all seeds"
        rest = f"{100 - 100 * self.calibration_fraction:g} %"
        pool = f"Calibration split: {share} of the training pool, stratified{shared}, under the test transform"
        return f"{pool}; the networks are trained on the other {rest}."

    @property
    def code(self) -> str:
        """The digest of the training code, and of the metrics where a checkpoint rule follows one."""
        if self.training.epochs == 0:
            return source_digest(UNTRAINED)
        followed = [metrics.registry[name] for name in map(followed_metric, self.checkpoints) if name]
        training = EXTENDED if self.recipe.is_extended else TRAINING
        return source_digest(training, *([FOLLOWING, *followed] if followed else []))

    @property
    def _bins_count(self) -> bool:
        """Whether the number of bins, another than usual, changes the chosen epoch or what is recorded of each."""
        followed = any(map(followed_metric, self.checkpoints)) or self.training.attention_curve
        return self.bins != DEFAULT_BINS and followed and self.training.epochs > 0

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What determines the predictions, as plain data."""
        return {
            "code": self.code,
            "dataset": self.dataset.identity() | {"fingerprint": self.fingerprint},
            "backbone": self.backbone.identity(),
            "recipe": self.recipe.identity(),
            "training": self.training.identity(),
            "calibration_fraction": self.calibration_fraction,
            **({} if self.calibration_seed is None else {"calibration_seed": self.calibration_seed}),
            **({"bins": self.bins} if self._bins_count else {}),
            "checkpoints": sorted(self.checkpoints),
            "seed": self.seed,
        }


@dataclass(frozen=True, eq=False)
class FileCell(Keyed):
    """Predictions read from a file in place of a training run; the seed decides how one split is made two."""

    source: PredictionSource
    fingerprint: str
    recipe: Recipe
    seed: int

    @property
    def dataset(self) -> External:
        """The dataset that the suite names for the file."""
        return External(self.source.dataset)

    @property
    def backbone(self) -> External:
        """The backbone that the suite names for the file."""
        return External(self.source.backbone)

    @property
    def calibration(self) -> str:
        """The file, or the share of its rows."""
        where, name = f"{self.dataset.name} / {self.backbone.name}", Path(self.source.path).name
        if self.source.test_path is not None:
            return f"{where}: calibration split {name}, test split {Path(self.source.test_path).name}."
        share = f"{100 * self.source.split:g} %"
        return f"{where}: calibration split {share} of the rows of {name} at random, stratified, unless it has one."

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The content of the files and how they are read."""
        options = self.source.model_dump(
            mode="json",
            exclude={
                "path",
                "test_path",
                "labels_path",
                "recipe",
                "publication",
                "sha256",
                "seed",
                "obtain",
                "generated",
            },
        )
        return {"code": source_digest(READING), "predictions": self.fingerprint, **options, "seed": self.seed}


@dataclass(frozen=True, eq=False)
class ArrayCell(Keyed):
    """Predictions that the caller has in memory."""

    dataset: External
    backbone: External
    predictions: Predictions
    recipe: Recipe
    calibration: str = ""
    seed: int = 0

    @property
    def recipe_name(self) -> str:
        """Not known."""
        return "unknown"

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The names: cells of this kind live as long as the process that makes them."""
        return {"dataset": self.dataset.name, "backbone": self.backbone.name, "seed": self.seed}


AnyCell = Cell | FileCell | ArrayCell


def file_fingerprint(source: PredictionSource) -> str:
    """The hash of the files of a source, or of what generates them.

    Raises:
        InputError: a file is not there (the message says where it is expected, and where to obtain it if that is
            known), or is not the one whose checksum the suite has.
    """
    if source.generated is not None:
        return digest([source_digest(GENERATING), source.generated.model_dump()])
    if source.publication is not None and source.sha256 is not None:  # checked when it is fetched
        return source.sha256[:24]
    content = hashlib.sha256()
    for path in filter(None, (source.path, source.test_path, source.labels_path)):
        try:
            file = Path(path).expanduser()
            state = file.stat()
            checksum = _file_hash(file, state.st_mtime_ns, state.st_size)
        except OSError as error:
            where = f"; obtain it from {source.obtain} and put it at {path}" if source.obtain else ""
            raise InputError(f"predictions {Path(path).name}: {error.strerror or error}{where}") from None
        if path == source.path and source.sha256 not in (None, checksum.hex()):
            raise InputError(f"predictions {file.name}: its SHA-256 is {checksum.hex()}, the suite has {source.sha256}")
        content.update(checksum)
    return content.hexdigest()[:24]


@cache
def _file_hash(path: Path, _modified: int, _size: int) -> bytes:
    """The SHA-256 of a file: read once, though many cells may be in it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
