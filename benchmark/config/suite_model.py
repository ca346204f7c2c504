"""The data model of a suite: the fields of the YAML file, and the checked suite."""

import re
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from calbench.benchmark.backbones import Backbone
from calbench.benchmark.config.entry import Entry
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.config.shift import OODOptions, ShiftOptions
from calbench.benchmark.config.suite_file import RESERVED_NAMES, is_results_name
from calbench.benchmark.config.training import TrainingConfig
from calbench.benchmark.config.validation import validated
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.generated import Generated
from calbench.datasets import Dataset

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._,+@=-]*")
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Override(BaseModel):
    """Training options for one backbone, dataset or both, the same for every entry.

    Attributes:
        backbone: its name, with or without options; every backbone by default. Example: ``vit-micro``.
        dataset: its name, with or without options; every dataset by default. Example: ``digits``.
        training: options as under `training`, which win over it. Example: ``{epochs: 45}``.
    """

    model_config = ConfigDict(extra="forbid")
    backbone: str | None = None
    dataset: str | None = None
    training: dict[str, Any]


class PredictionSource(BaseModel):
    """A file of predictions in place of training: see `calbench.benchmark.predictions.files`.

    ``{publication: ADDRESS}`` means all files that `calbench publish` wrote there.

    Attributes:
        path: of the file. Example: ``logits.npz``.
        dataset: what the tables call its data. Example: ``cifar100``.
        backbone: what the tables call its network. Example: ``resnet50``.
        test_path: a second file with the test split; then `path` has the calibration split. Example: ``test.npz``.
        recipe: the training-time methods that made the predictions; entries with this recipe are evaluated on them.
            Example: ``focal``.
        kind: what the scores are, where it cannot be recognised. Example: ``probabilities``.
        key: the name of the scores in the file, where it cannot be recognised. Example: ``outputs``.
        labels_key: the name of the labels in the file, where it cannot be recognised. Example: ``targets``.
        labels_path: a file with only the labels. Example: ``labels.npy``.
        classes: names of the classes in the order of the columns. Example: ``[cat, dog]``.
        normalize: whether rows of probabilities that do not sum to 1 are divided by their sum. Example: ``true``.
        split: share of the rows that the calibration split takes, of a file with one split. Example: ``0.2``.
        publication: folder or address of published predictions. Example: ``https://example.org/quick``.
        sha256: checksum of `path`, in 64 hexadecimal digits; `publication` fills it in.
            Example: ``9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08``.
        seed: of the training that made the predictions; every seed of the suite by default. Example: ``1``.
        obtain: where the file can be obtained, for the message if it is not there. Example: ``example.org/logits``.
        generated: sizes of random predictions, written to a temporary file in the layout of CalArena, in place of a
            file; the fields are below. Example: ``{classes: 10}``.
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
    obtain: str = ""
    generated: Generated | None = None


class SuiteConfig(BaseModel):
    """A suite as written: the top level of the file.

    Attributes:
        title: above every table. Example: ``My first suite``.
        description: one paragraph under the title. Example: ``Two losses on one network.``.
        datasets: names of `calbench list datasets`, with options. Example: ``[digits, "overlap(train=5000)"]``.
        backbones: names of `calbench list backbones`, with options; ``timm:NAME`` is any model of timm, and modifiers
            follow a ``*``. Example: ``[vit-micro, "timm:resnet18"]``.
        predictions: files of predictions in place of training. Example: ``[{path: logits.npz, dataset: cifar100,
            backbone: resnet50}]``.
        entries: the rows of the tables: methods joined by ``+``, or a label with a list of methods;
            ``{every: calibrator}`` is all calibrators that can be fitted on logits and labels without options.
            Example: ``["focal(gamma=5) + temperature-scaling", {label: Ours, methods: [calattn]}]``.
        tune: tries settings of every entry with options to tune and shows the one with the lowest NLL of the
            calibration split: a number of settings, or values by method and option.
            Example: ``{focal: {gamma: [1, 2, 3]}}``.
        baseline: the entry that improvements and reductions refer to. Example: ``cross-entropy``.
        pairs: pairs of entries to compare with each other: the change of each metric from the second to the first, with
            intervals and p values. Example: ``[[calattn + temperature-scaling, temperature-scaling]]``.
        seeds: their number, or a list. Example: ``3``.
        protocol: a name of `calbench list protocols`, or a mapping with ``name`` and what differs from it; the fields
            are below. Example: ``{name: clean, calibration_fraction: 0.2}``.
        training: how the cells are trained; the fields are below. Example: ``{epochs: 30, lr: 0.001}``.
        keep: ``weights`` keeps the weights of every cell, for variants and diagnostics; it changes no prediction.
            Example: ``weights``.
        shift: further test splits under corruptions or from published sets; the fields are below.
            Example: ``{corruptions: [gaussian-noise], severities: [1, 3, 5]}``.
        ood: out-of-distribution test sets; the fields are below. Example: ``{near: [cifar100], far: [svhn]}``.
        overrides: training options for some datasets or backbones; the fields are below.
            Example: ``[{dataset: digits, training: {epochs: 45}}]``.
        tables: further tables; the fields are below.
            Example: ``[{name: ece, rows: [entry], columns: [dataset], metrics: [ece]}]``.
        sizes: numbers of calibration samples; ``calbench run`` also fits every entry on random parts of the calibration
            split of each size, and writes the NLL against the size as a table and figures.
            Example: ``[100, 300, 1000]``.
        reference: published numbers to compare with: a name of `calbench list references`, or a CSV file.
            Example: ``guo2017``.
        labels: short names of datasets and backbones in tables and figures. Example: ``{vit-micro: ViT}``.
        smoke: fields that `--smoke` takes in place of the suite's own, for a test in seconds.
            Example: ``{datasets: [digits], training: {epochs: 1}}``.
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
    pairs: list[tuple[Any, Any]] = []
    seeds: Annotated[list[Seed], Field(min_length=1)] | Annotated[int, Field(ge=1, le=10_000)] = [0]
    protocol: str | dict[str, Any] = "clean"
    training: dict[str, Any] = {}
    keep: Literal["weights"] | None = None
    shift: ShiftOptions | None = None
    ood: OODOptions | None = None
    overrides: list[Override] = []
    tables: list[Any] = []
    sizes: list[Annotated[int, Field(ge=1)]] = []
    reference: str | None = None
    labels: dict[str, str] = {}
    smoke: dict[str, Any] = {}


@dataclass(frozen=True)
class Suite:
    """A checked suite.

    ``dataset_places`` are the file and line of each dataset, for messages about what only its files show.
    """

    name: str
    config: SuiteConfig
    datasets: tuple[Dataset, ...]
    backbones: tuple[Backbone, ...]
    entries: tuple[Entry, ...]
    baseline: str
    seeds: tuple[int, ...]
    protocol: Protocol
    pairs: tuple[tuple[str, str], ...] = ()
    dataset_places: tuple[str, ...] = ()

    def called(self, name: str) -> "Suite":
        """The same suite under another name, that of its results.

        Raises:
            InputError: the name cannot be that of a folder.
        """
        if not _NAME.fullmatch(name) or not is_results_name(name):
            raise InputError(
                f"name {name!r}: use letters, digits and . _ - + @ =, no dot at the end, and none of "
                f"{', '.join(RESERVED_NAMES)} and Windows' devices (CON, NUL ...)"
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
