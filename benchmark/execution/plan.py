"""The plan of a run: which cells the entries of a suite need, each once, and each cell's key in the cache."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from calbench.benchmark.backbones import Backbone
from calbench.benchmark.config.cell import AnyCell, Cell, FileCell, file_fingerprint
from calbench.benchmark.config.derived_cell import EnsembleCell, VariantCell
from calbench.benchmark.config.entry import Entry, Recipe, parse_entry
from calbench.benchmark.config.extra_splits import Extra, SetPrints, extra_splits
from calbench.benchmark.config.suite import Suite
from calbench.benchmark.config.training import TrainingConfig
from calbench.benchmark.core.hashing import digest
from calbench.benchmark.variants import Variant
from calbench.datasets import Dataset


@dataclass(frozen=True)
class Work:
    """A cell and the entries that are evaluated on its predictions.

    ``oracle`` says whether the Bayes posterior is evaluated here too: in the first recipe's cells where it is known.
    ``extra`` are the shifted and out-of-distribution splits that a trained cell predicts in addition to its own; cells
    that are derived from others have none.
    """

    cell: AnyCell | VariantCell | EnsembleCell
    entries: tuple[Entry, ...]
    oracle: bool = False
    extra: Extra = field(default_factory=Extra)


@dataclass(frozen=True)
class _Group:
    """Entries with the same predictions: one recipe, one derivation."""

    first: Entry
    entries: list[Entry]

    @property
    def is_trained(self) -> bool:
        return not self.first.derivation


def make_plan(
    suite: Suite, fingerprint: Callable[[Dataset], str], shifted: SetPrints | None = None, device: str = "auto"
) -> list[Work]:
    """List the cells that `suite` needs, each once, seed by seed so that an early stop leaves whole tables.

    A cell that is derived from others comes after them.

    Args:
        suite: the checked suite.
        fingerprint: gives a dataset's content hash; called once per dataset.
        shifted: gives the content hash of a published shifted set, and its classes if they are a part of the dataset's.
        device: where the cells will be trained: on a GPU the precision ``auto`` is resolved before it enters the keys.
    """
    groups: dict[str, _Group] = {}
    for entry in (one for row in suite.entries for one in row.evaluated):
        parts = [entry.recipe.identity(), [part.identity() for part in entry.derivation]]
        groups.setdefault(digest(parts), _Group(entry, [])).entries.append(entry)
    prints = {id(dataset): fingerprint(dataset) for dataset in suite.datasets}
    extras = _extras(suite, groups.values(), fingerprint, shifted)
    works: list[Work] = []
    pooled: list[Work] = []
    for seed in suite.seeds:
        for dataset in suite.datasets:
            for backbone in suite.backbones:
                place = _Place(suite, dataset, prints[id(dataset)], backbone, extras, device)
                works += place.works(groups.values(), seed)
                pooled += place.ensembles(groups.values(), seed)
    return works + pooled + _from_files(suite, groups)


def _extras(
    suite: Suite, groups: Iterable[_Group], fingerprint: Callable[[Dataset], str], shifted: SetPrints | None
) -> dict[tuple[int, str], Extra]:
    """The further splits of each dataset and recipe; features are kept only where an entry reads them."""
    reads: dict[str, bool] = {}
    for group in groups:
        name = group.first.recipe.name
        reads[name] = reads.get(name, False) or any(
            "features" in m.needs for e in group.entries for m in (*e.member_calibrators, *e.calibrators)
        )
    made = {
        (id(dataset), features): extra_splits(suite, dataset, fingerprint, shifted, features)
        for dataset in suite.datasets
        for features in set(reads.values())
    }
    return {(id(dataset), name): made[id(dataset), reads[name]] for dataset in suite.datasets for name in reads}


def _with_precision(training: TrainingConfig, device: str) -> TrainingConfig:
    """`training` with the precision that ``auto`` means on a GPU; on a CPU ``auto`` is float32 everywhere."""
    if training.precision != "auto" or device == "cpu":
        return training
    import torch

    if not torch.cuda.is_available():
        return training
    precision = "bf16" if torch.cuda.is_bf16_supported() else "float32"
    return training.model_copy(update={"precision": precision})


class _Place:
    """The cells of one dataset and backbone."""

    def __init__(
        self, suite: Suite, dataset: Dataset, fingerprint: str, backbone: Backbone,
        extras: Mapping[tuple[int, str], Extra], device: str,
    ) -> None:  # fmt: skip
        self.suite, self.dataset, self.fingerprint, self.backbone = suite, dataset, fingerprint, backbone
        self.extras = extras
        self.training = _with_precision(suite.training_for(dataset, backbone), device)

    def cell(self, recipe: Recipe, seed: int) -> Cell:
        protocol = self.suite.protocol
        return Cell(
            self.dataset, self.fingerprint, self.backbone, recipe, seed, self.training, protocol.calibration_fraction,
            protocol.checkpoints, protocol.calibration_seed, protocol.bins,
        )  # fmt: skip

    def works(self, groups: Iterable[_Group], seed: int) -> list[Work]:
        """Trained cells, those without entries of their own included, and variants, each after its trained cell."""
        trained: dict[str, Work] = {}
        variants: dict[str, Work] = {}
        for group in groups:
            cell = self.cell(group.first.recipe, seed)
            oracle = self.dataset.has_posterior and not trained
            extra = self.extras[id(self.dataset), cell.recipe.name]
            known = trained.setdefault(cell.key, Work(cell, (), oracle, extra))
            if group.is_trained:
                trained[cell.key] = replace(known, entries=tuple(group.entries))
            elif group.first.network_variants:
                variant = VariantCell(cell, group.first.network_variants)
                entries = () if group.first.pooling else tuple(group.entries)
                before = variants[variant.key].entries if variant.key in variants else ()
                variants[variant.key] = Work(variant, before + entries)
        return [*trained.values(), *variants.values()]

    def ensembles(self, groups: Iterable[_Group], seed: int) -> list[Work]:
        """The ensembles whose first member has this seed."""
        works = []
        for group in groups:
            pooling = group.first.pooling
            if pooling is not None:
                members = [self._member(group.first, one) for one in _circle(self.suite.seeds, seed, pooling)]
                cell = EnsembleCell(tuple(members), group.first.member_calibrators, pooling)
                works.append(Work(cell, tuple(group.entries)))
        return works

    def _member(self, entry: Entry, seed: int) -> Cell | VariantCell:
        cell = self.cell(entry.recipe, seed)
        return VariantCell(cell, entry.network_variants) if entry.network_variants else cell


def _circle(seeds: tuple[int, ...], first: int, pooling: Variant) -> list[int]:
    """The seeds of an ensemble: as many as it has members, from `first` on, in a circle."""
    start, count = seeds.index(first), pooling.options().get("members") or len(seeds)
    return [seeds[(start + step) % len(seeds)] for step in range(count)]


def _from_files(suite: Suite, groups: dict[str, _Group]) -> list[Work]:
    """The cells of the suite's files of predictions, each with the entries of the recipe that the file names."""
    sources = [
        (source, file_fingerprint(source), digest([parse_entry(source.recipe).recipe.identity(), []]))
        for source in suite.config.predictions
    ]
    return [
        Work(FileCell(source, fingerprint, groups[recipe].first.recipe, seed), tuple(groups[recipe].entries))
        for seed in suite.seeds
        for source, fingerprint, recipe in sources
        if recipe in groups and source.seed in (None, seed)
    ]
