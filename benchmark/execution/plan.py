"""The plan: which cells the entries of a suite need, each once, and what each cell is called in the cache."""

from collections.abc import Callable
from dataclasses import dataclass, field

from calbench.benchmark.config.cell import AnyCell, Cell, FileCell, file_fingerprint
from calbench.benchmark.config.entry import Entry, Recipe, parse_entry
from calbench.benchmark.config.extra_splits import Extra, SetPrints, extra_splits
from calbench.benchmark.config.suite import Suite
from calbench.benchmark.core.hashing import digest
from calbench.datasets import Dataset


@dataclass(frozen=True)
class Work:
    """A cell and the entries that are evaluated on its predictions.

    ``oracle`` says whether the Bayes posterior is evaluated here too: in the first recipe's cells where it is known.
    ``extra`` are the shifted and out-of-distribution splits that it predicts beside its own.
    """

    cell: AnyCell
    entries: tuple[Entry, ...]
    oracle: bool = False
    extra: Extra = field(default_factory=Extra)


def make_plan(suite: Suite, fingerprint: Callable[[Dataset], str], shifted: SetPrints | None = None) -> list[Work]:
    """List the cells that `suite` needs, each once, seed by seed so that an early stop leaves whole tables.

    Args:
        suite: the checked suite.
        fingerprint: gives a dataset's content hash; called once per dataset.
        shifted: gives the content hash of a published shifted set, and its classes if they are a part of the dataset's.
    """
    groups: dict[str, tuple[Recipe, list[Entry]]] = {}
    for entry in suite.entries:
        groups.setdefault(digest(entry.recipe.identity()), (entry.recipe, []))[1].append(entry)
    prints = {id(dataset): fingerprint(dataset) for dataset in suite.datasets}
    training = {(id(d), id(b)): suite.training_for(d, b) for d in suite.datasets for b in suite.backbones}
    extras = _extras(suite, groups, fingerprint, shifted)
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
            extra=extras[id(dataset), name],
        )
        for seed in suite.seeds
        for dataset in suite.datasets
        for backbone in suite.backbones
        for name, (recipe, entries) in groups.items()
    ]
    return trained + _from_files(suite, groups)


def _extras(
    suite: Suite, groups: dict[str, tuple[Recipe, list[Entry]]], fingerprint: Callable[[Dataset], str],
    shifted: SetPrints | None,
) -> dict[tuple[int, str], Extra]:  # fmt: skip
    """The further splits of each dataset and recipe; features are kept only where an entry reads them."""
    reads = {
        name: any("features" in m.needs for e in entries for m in e.calibrators)
        for name, (_, entries) in groups.items()
    }
    made = {
        (id(dataset), features): extra_splits(suite, dataset, fingerprint, shifted, features)
        for dataset in suite.datasets
        for features in set(reads.values())
    }
    return {(id(dataset), name): made[id(dataset), reads[name]] for dataset in suite.datasets for name in groups}


def _from_files(suite: Suite, groups: dict[str, tuple[Recipe, list[Entry]]]) -> list[Work]:
    """The cells of the suite's files of predictions, each with the entries of the recipe that the file names."""
    sources = [
        (source, file_fingerprint(source), digest(parse_entry(source.recipe).recipe.identity()))
        for source in suite.config.predictions
    ]
    return [
        Work(FileCell(source, fingerprint, groups[recipe][0], seed), tuple(groups[recipe][1]))
        for seed in suite.seeds
        for source, fingerprint, recipe in sources
        if recipe in groups and source.seed in (None, seed)
    ]
