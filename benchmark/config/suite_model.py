"""The data model of a suite: the fields of the YAML file, and the checked suite."""

import re
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from calbench.benchmark.backbones import Backbone
from calbench.benchmark.config.entry import Entry
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.config.shift import OODOptions, ShiftOptions
from calbench.benchmark.config.suite_file import RESERVED_NAMES
from calbench.benchmark.config.training import TrainingConfig
from calbench.benchmark.config.validation import validated
from calbench.benchmark.core.errors import InputError
from calbench.datasets import Dataset

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._,+@=-]*")
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Override(BaseModel):
    """Training options for one backbone, dataset or both; they hold for every entry alike."""

    model_config = ConfigDict(extra="forbid")
    backbone: str | None = None
    dataset: str | None = None
    training: dict[str, Any]


class PredictionSource(BaseModel):
    """A file of predictions in place of training: see `calbench.benchmark.predictions.files`.

    ``split`` is the share of rows that the calibration split takes where the file has one split and there is no
    ``test_path``; ``recipe`` names the training-time methods that made the predictions (cross-entropy by default), so
    that entries with that recipe are evaluated on them; the other options say what cannot be recognised by name.
    ``{publication: ADDRESS}`` means all files that `calbench publish` wrote there; it fills in the last three.
    """

    model_config = ConfigDict(extra="forbid")
    path: str
    dataset: str
    backbone: str
    test_path: str | None = None
    recipe: str = "cross-entropy"
    kind: Literal["logits", "probabilities"] | None = None
    key: str | None = None
    labels_key: str | None = None
    labels_path: str | None = None
    classes: tuple[str, ...] = ()
    normalize: bool = False
    split: Annotated[float, Field(gt=0, lt=1)] = 0.5
    publication: str | None = None
    sha256: str | None = None
    seed: int | None = None


class SuiteConfig(BaseModel):
    """A suite as written.

    ``keep: weights`` keeps the weights of every trained cell next to its predictions, for variants and diagnostics; it
    changes no prediction, and is not part of a cell's key. ``shift`` and ``ood`` ask for further splits, which every
    cell predicts after its training. ``labels`` are short names of datasets and backbones in tables and figures.
    ``tune: 4`` tries four settings of every entry with options to tune and shows the
    one with the lowest NLL of the calibration split; see `calbench.benchmark.config.tuning`.
    """

    model_config = ConfigDict(extra="forbid")
    title: str = ""
    description: str = ""
    datasets: list[Any] = []
    backbones: list[Any] = []
    predictions: list[PredictionSource] = []
    entries: Annotated[list[Any], Field(min_length=1)]
    tune: Any = None
    baseline: Any = "cross-entropy"
    seeds: Annotated[list[Seed], Field(min_length=1)] | Annotated[int, Field(ge=1, le=10_000)] = [0]
    protocol: str | dict[str, Any] = "clean"
    training: dict[str, Any] = {}
    keep: Literal["weights"] | None = None
    shift: ShiftOptions | None = None
    ood: OODOptions | None = None
    overrides: list[Override] = []
    tables: list[Any] = []
    reference: str | None = None
    labels: dict[str, str] = {}
    smoke: dict[str, Any] = {}


@dataclass(frozen=True)
class Suite:
    """A checked suite."""

    name: str
    config: SuiteConfig
    datasets: tuple[Dataset, ...]
    backbones: tuple[Backbone, ...]
    entries: tuple[Entry, ...]
    baseline: str
    seeds: tuple[int, ...]
    protocol: Protocol

    def called(self, name: str) -> "Suite":
        """The same suite under another name, that of its results.

        Raises:
            InputError: the name cannot be that of a folder.
        """
        if not _NAME.fullmatch(name) or name in RESERVED_NAMES:
            raise InputError(
                f"name {name!r}: use letters, digits and . _ - + @ =, and none of {', '.join(RESERVED_NAMES)}"
            )
        return replace(self, name=name)

    def training_for(self, dataset: Dataset, backbone: Backbone) -> TrainingConfig:
        """The training options of one dataset and backbone: protocol, then suite, then the overrides that match."""
        options = {**self.protocol.training, **self.config.training}
        for override in self.config.overrides:
            if override.backbone in (None, backbone.spec.name, backbone.spelled()) and override.dataset in (
                None,
                dataset.spec.name,
                dataset.spelled(),
            ):
                options.update(override.training)
        return validated(TrainingConfig, options, "training")
