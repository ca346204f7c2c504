"""Further splits of a cell, shifted or out-of-distribution, each stored under a separate key."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from calbench.benchmark.config.shift import ShiftOptions, conversion, same_data
from calbench.benchmark.core.hashing import digest
from calbench.benchmark.core.seeds import seed_for
from calbench.benchmark.core.sources import source_digest
from calbench.benchmark.corruptions import registry as corruptions
from calbench.benchmark.corruptions import scale_for
from calbench.datasets import Dataset
from calbench.datasets.shifted import ShiftedSet
from calbench.datasets.without_classes import WithoutClasses

if TYPE_CHECKING:
    from calbench.benchmark.config.suite import Suite

SHIFT, OOD = "shift-", "ood-"
LOADING = "calbench.benchmark.data.extra_splits:load_extra"
PREDICTION = "calbench.benchmark.training.prediction:predict"


@dataclass(frozen=True)
class ExtraSplit(ABC):
    """A split that a cell predicts in addition to its calibration and test splits.

    Attributes:
        name: of the split in results: ``shift-...`` or ``ood-...``.
        group: the name under which its results are averaged with those of others, or None.
        features: whether its features are stored: a calibrator or a score reads them.
        of: which of the cell's splits it is made of.
    """

    name: str
    group: str | None = None
    features: bool = False
    of: ClassVar[str] = "test"

    @abstractmethod
    def recipe(self) -> dict[str, Any]:
        """What determines the images, in addition to the cell's dataset, as plain data."""

    @cached_property
    def key(self) -> str:
        """The name of its predictions among those of a cell."""
        code = source_digest(LOADING, PREDICTION)
        return digest({"kind": type(self).__name__, "code": code, "features": self.features, **self.recipe()})


@dataclass(frozen=True)
class Corrupted(ExtraSplit):
    """The test split (or the calibration split, with `calibration`) under a generated corruption.

    `images` is the size of a stratified random subset, None for all images.
    """

    corruption: str = ""
    severity: int = 1
    scale: int = 32
    seed: int = 0
    calibration: bool = False
    images: int | None = None

    def recipe(self) -> dict[str, Any]:
        """The corruption with its code, its severity, constants and seed."""
        return {
            "corruption": corruptions.create(self.corruption).identity(), "severity": self.severity,
            "scale": self.scale, "seed": self.seed, "calibration": self.calibration, "images": self.images,
        }  # fmt: skip


@dataclass(frozen=True)
class CorruptedPatch(ExtraSplit):
    """The test split with one patch of every image corrupted."""

    corruption: str = ""
    severity: int = 5
    scale: int = 32
    grid: int = 8
    position: int = 0
    seed: int = 0

    def recipe(self) -> dict[str, Any]:
        """The corruption with its code, and the place of the patch in its grid."""
        return {
            "corruption": corruptions.create(self.corruption).identity(), "severity": self.severity,
            "scale": self.scale, "grid": self.grid, "position": self.position, "seed": self.seed,
        }  # fmt: skip


@dataclass(frozen=True)
class Published(ExtraSplit):
    """One split of a published shifted set; `classes` are those that occur in it, where they are not all."""

    shifted: ShiftedSet = field(kw_only=True)
    part: str = ""
    fingerprint: str = ""
    classes: tuple[int, ...] | None = None

    def recipe(self) -> dict[str, Any]:
        """The set with its options and content."""
        return {"set": self.shifted.identity(), "part": self.part, "fingerprint": self.fingerprint}


@dataclass(frozen=True)
class OutOfDistribution(ExtraSplit):
    """The test split of another dataset."""

    dataset: Dataset = field(kw_only=True)
    fingerprint: str = ""

    def recipe(self) -> dict[str, Any]:
        """The other dataset with its content."""
        return {"dataset": self.dataset.identity(), "fingerprint": self.fingerprint}


@dataclass(frozen=True)
class HeldOut(ExtraSplit):
    """The test images of the classes that the cell's dataset is without."""

    def recipe(self) -> dict[str, Any]:
        """Nothing: the cell's dataset says it all."""
        return {}


@dataclass(frozen=True)
class Extra:
    """The further splits of a cell, and the one that calibrators are fitted on in place of the calibration split."""

    splits: tuple[ExtraSplit, ...] = ()
    fit: ExtraSplit | None = None

    @property
    def all(self) -> tuple[ExtraSplit, ...]:
        """Everything that is predicted."""
        return (*self.splits, *([self.fit] if self.fit else []))


Prints = Callable[[Dataset], str]
SetPrints = Callable[[ShiftedSet, Dataset], tuple[str, tuple[int, ...] | None]]


def extra_splits(
    suite: "Suite", dataset: Dataset, fingerprint: Prints, shifted: SetPrints | None, features: bool
) -> Extra:
    """The further splits that `suite` asks for of the cells of `dataset`.

    Args:
        suite: the checked suite.
        dataset: one of its datasets.
        fingerprint: gives a dataset's content hash.
        shifted: gives a shifted set's content hash, and its classes if they are a part of the dataset's; None where the
            suite has no such set.
        features: whether an entry of the cell reads features.
    """
    splits: list[ExtraSplit] = []
    fit = None
    if suite.config.shift is not None:
        fit = _fitted_on(suite.config.shift, dataset, features)
        splits += _corrupted(suite.config.shift, dataset, features)
        splits += _patches(suite.config.shift, dataset, features)
        splits += _published(suite.config.shift, dataset, shifted, features)
    if suite.config.ood is not None:
        splits += [
            OutOfDistribution(
                f"{OOD}{group}-{other.spelled()}", f"{OOD}{group}", True, dataset=other, fingerprint=fingerprint(other)
            )
            for group, other in suite.config.ood.made_sets()
            if not same_data(other, dataset)
        ]
        if isinstance(dataset, WithoutClasses):
            splits.append(HeldOut(f"{OOD}near-held-out-classes", f"{OOD}near", True))
    return Extra(tuple(splits), fit)


def _scale(options: ShiftOptions, dataset: Dataset) -> int:
    return scale_for(dataset.image_size) if options.constants == "auto" else options.constants


def _corrupted(options: ShiftOptions, dataset: Dataset, features: bool) -> list[ExtraSplit]:
    scale = _scale(options, dataset)
    return [
        Corrupted(
            f"{SHIFT}{name}-{severity}",
            severity_group(severity),
            features,
            name,
            severity,
            scale,
            options.seed,
            images=options.images,
        )
        for name in options.names
        for severity in dict.fromkeys(options.severities)
    ]


def severity_group(severity: int, of: str = "") -> str:
    """The split under which the results of all corruptions of one severity are averaged; 0 is the clean test split."""
    return f"{SHIFT}{of}severity-{severity}"


def _fitted_on(options: ShiftOptions, dataset: Dataset, features: bool) -> Corrupted | None:
    pair = options.fitted_on()
    if pair is None:
        return None
    name, severity = pair
    scale = _scale(options, dataset)
    # another seed than the test images': the same noise on both would be known to the calibrator
    seed = seed_for(options.seed, "shifted-calibration")
    return Corrupted(f"calibration-{name}-{severity}", None, features, name, severity, scale, seed, calibration=True)


def _patches(options: ShiftOptions, dataset: Dataset, features: bool) -> list[ExtraSplit]:
    patches = options.patches
    if patches is None:
        return []
    total = patches.grid**2
    order = np.random.default_rng(seed_for(options.seed, "patches")).permutation(total)
    chosen = sorted(order[: patches.positions].tolist())
    return [
        CorruptedPatch(
            f"{SHIFT}patch-{place}", f"{SHIFT}patch", features, patches.corruption, patches.severity,
            _scale(options, dataset), patches.grid, place, options.seed,
        )
        for place in chosen
    ]  # fmt: skip


def _published(options: ShiftOptions, dataset: Dataset, shifted: SetPrints | None, features: bool) -> list[ExtraSplit]:
    splits: list[ExtraSplit] = []
    if shifted is None:
        if options.sets:
            raise TypeError("a plan with published shifted sets needs their content hashes")
        return splits
    for one in options.made_sets():
        fingerprint, classes = shifted(one, dataset)
        for part in one.split_names():
            name, _, severity = part.rpartition("-")
            graded = bool(name) and severity.isdigit()
            group = severity_group(int(severity), f"{one.spec.name}-") if graded else None
            label = f"{SHIFT}{one.spec.name}-{part}" if part else f"{SHIFT}{one.spec.name}"
            splits.append(
                Published(label, group, features, shifted=one, part=part, fingerprint=fingerprint, classes=classes)
            )
    return splits


def extra_lines(suite: "Suite") -> list[str]:
    """What stands above the tables of these splits."""
    lines: list[str] = []
    shift, ood = suite.config.shift, suite.config.ood
    if shift is not None and shift.names:
        levels = ", ".join(map(str, shift.severities))
        fitted = f"the calibration split under {shift.fit_on}" if shift.fit_on else "the clean calibration split"
        lines.append(
            f"Shift: generated corruptions of {shift.images or 'the'} test images ({', '.join(shift.names)}; "
            f"severities {levels}; formulas "
            f"and constants of Hendrycks and Dietterich 2019, not their files). Calibrators are fitted on {fitted}."
        )
    if shift is not None and shift.sets:
        sets = shift.made_sets()
        lines.append(f"Published shifted sets: {', '.join(one.spelled() for one in sets)}.")
        lines += [f"{one.spelled()} {one.note}." for one in sets if one.note]
    others = [] if ood is None else ood.made_sets()
    for dataset in suite.datasets if ood is not None else ():
        parts: list[str] = []
        for group, other in others:
            if same_data(other, dataset):
                parts.append(f"{other.spelled()} left out, being the dataset itself")
                continue
            how = conversion(other, dataset)
            parts.append(f"{group}: {other.spelled()}{f' ({how})' if how else ''}")
        if isinstance(dataset, WithoutClasses):
            parts.append(f"near: its own classes {', '.join(map(str, dataset.held_out))}, held out of training")
        if parts:
            lines.append(f"Out-of-distribution sets of {dataset.spelled()}: {'; '.join(parts)}.")
    return lines
