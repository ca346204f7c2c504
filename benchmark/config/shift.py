"""The suite's options ``shift`` and ``ood``: which further splits every cell predicts.

They are not part of a cell's key, so that adding a corruption does not retrain anything.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from calbench.benchmark.config.terms import make_component
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.corruptions import SEVERITIES, check_corruption, corruption_names
from calbench.datasets import Dataset
from calbench.datasets import registry as dataset_registry
from calbench.datasets.shifted import ShiftedSet
from calbench.datasets.shifted import registry as shifted_registry
from calbench.datasets.without_classes import WithoutClasses


class Patches(BaseModel):
    """One patch of the input corrupted, and the rest of the image left as it is (Gu, Tresp and Qin, ECCV 2022).

    Attributes:
        grid: patches along a side of the image. Example: ``14``.
        positions: places that are tried, chosen by the seed; null for all of them. Example: ``4``.
        corruption: a corruption by name. Example: ``gaussian-noise``.
        severity: 1 to 5. Example: ``3``.
    """

    model_config = ConfigDict(extra="forbid")
    grid: Annotated[int, Field(ge=2)] = 8
    positions: Annotated[int, Field(ge=1)] | None = 16
    corruption: str = "gaussian-noise"
    severity: int = 5


class ShiftOptions(BaseModel):
    """Shifted test splits.

    Attributes:
        corruptions: generated corruptions of the test split, by name, family or group (``cifar-c``, ``all``).
            Example: ``[gaussian-noise, contrast]``.
        severities: of 1 to 5. Example: ``[1, 3, 5]``.
        constants: which authors' constants to use, ``32`` or ``224`` pixels; ``auto``: by the size of the images.
            Example: ``224``.
        sets: published shifted sets, by name. Example: ``[cifar10-c]``.
        patches: one corrupted patch at a time. Example: ``{grid: 8, severity: 5}``.
        fit_on: ``<corruption>-<severity>``: calibrators of the shift tables are fitted on the calibration split under
            this corruption; by default on the clean one. Example: ``gaussian-noise-3``.
        images: how many test images to corrupt, a stratified random subset; all by default. Example: ``2000``.
        seed: of the random numbers of the corruptions. Example: ``1``.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    corruptions: str | list[str] = []
    severities: Annotated[list[int], Field(min_length=1)] = list(SEVERITIES)
    constants: Literal["auto", 32, 224] = "auto"
    sets: list[Any] = []
    patches: Patches | None = None
    fit_on: Annotated[str | None, Field(alias="fit-on")] = None
    images: Annotated[int, Field(ge=1)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0

    @property
    def names(self) -> list[str]:
        """The corruptions, each once.

        Raises:
            InputError: a name that is neither a corruption nor a group.
        """
        return corruption_names(self.corruptions)

    def made_sets(self) -> tuple[ShiftedSet, ...]:
        """The published sets.

        Raises:
            InputError: an unknown name or option.
        """
        return tuple(make_component(term, shifted_registry.create) for term in self.sets)

    def fitted_on(self) -> tuple[str, int] | None:
        """Corruption and severity of `fit_on`, or None.

        Raises:
            InputError: another form.
        """
        if self.fit_on is None:
            return None
        name, _, severity = self.fit_on.rpartition("-")
        if not name or not severity.isdigit():
            raise InputError(f"fit-on: expected <corruption>-<severity>, such as gaussian-noise-3, got {self.fit_on!r}")
        return name, int(severity)

    def check(self, dataset: Dataset) -> None:
        """Raise an `InputError` where these splits cannot be made of `dataset`."""
        wanted = [(name, severity) for name in self.names for severity in self.severities]
        wanted += [pair for pair in (self.fitted_on(),) if pair]
        if self.patches is not None:
            wanted.append((self.patches.corruption, self.patches.severity))
            if dataset.image_size % self.patches.grid:
                raise InputError(
                    f"patches: images of {dataset.image_size} pixels cannot be cut into {self.patches.grid} x "
                    f"{self.patches.grid} patches; set grid"
                )
        for name, severity in wanted:
            check_corruption(name, severity, dataset.channels)
        for shifted in self.made_sets():
            shifted.check(dataset)


class OODOptions(BaseModel):
    """Out-of-distribution sets: other datasets, near and far from the suite's own, and classes left out of training.

    Attributes:
        near: datasets that resemble the suite's, averaged as one group. Example: ``[cifar100]``.
        far: datasets that do not, averaged as another group. Example: ``[svhn]``.
        held_out_classes: numbers of classes that are left out of training, whose test images are a near set.
            Example: ``[8, 9]``.
    """

    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    near: list[Any] = []
    far: list[Any] = []
    held_out_classes: Annotated[list[int], Field(alias="held-out-classes")] = []

    def made_sets(self) -> list[tuple[Literal["near", "far"], Dataset]]:
        """The datasets, with the group that each is averaged in.

        Raises:
            InputError: an unknown name or option, or a set named twice.
        """
        groups: tuple[Literal["near", "far"], ...] = ("near", "far")
        sets: list[tuple[Literal["near", "far"], Dataset]] = [
            (group, make_component(term, dataset_registry.create)) for group in groups for term in getattr(self, group)
        ]
        names = [dataset.spelled() for _, dataset in sets]
        for i, name in enumerate(names):
            if name in names[:i]:
                raise InputError(f"out-of-distribution set {name!r} is named twice")
        return sets

    def restrict(self, dataset: Dataset) -> Dataset:
        """The dataset that is trained on: without the held-out classes if there are any.

        Raises:
            InputError: a class that does not exist, or too few left.
        """
        if not self.held_out_classes:
            return dataset
        held = tuple(self.held_out_classes)
        return WithoutClasses(dataset=dataset.spec.name, settings=dataset.options(), held_out=held)

    def check(self, dataset: Dataset) -> None:
        """Raise an `InputError` where a set cannot become input of networks trained on `dataset`."""
        for _, other in self.made_sets():
            if other.channels != dataset.channels and not {other.channels, dataset.channels} <= {1, 3}:
                raise InputError(
                    f"out-of-distribution set {other.spelled()} has {other.channels} channels and {dataset.spelled()} "
                    f"{dataset.channels}: only grey and RGB images are converted into each other"
                )


def same_data(first: Dataset, second: Dataset) -> bool:
    """Whether two datasets are the same one, with or without some of its classes."""
    plain = [one.source if isinstance(one, WithoutClasses) else one for one in (first, second)]
    return plain[0].identity() == plain[1].identity()


def conversion(other: Dataset, dataset: Dataset) -> str:
    """How images of `other` become those of `dataset`, in words; empty where nothing is done."""
    steps = []
    if other.image_size != dataset.image_size:
        steps.append(f"resized from {other.image_size} to {dataset.image_size} pixels")
    if other.channels != dataset.channels:
        steps.append("grey to RGB" if dataset.channels == 3 else "RGB to grey")
    return ", ".join(steps)
