"""The plan: which cells the entries of a suite need, each once, and what each cell is called in the cache."""

from collections.abc import Callable
from dataclasses import dataclass

from calbench.benchmark.config.cell import AnyCell, Cell, FileCell, file_fingerprint
from calbench.benchmark.config.entry import Entry, Recipe, parse_entry
from calbench.benchmark.config.suite import Suite
from calbench.benchmark.core.hashing import digest
from calbench.datasets import Dataset


@dataclass(frozen=True)
class Work:
    """A cell and the entries that are evaluated on its predictions.

    ``oracle`` says whether the Bayes posterior is evaluated here too: in the first recipe's cells where it is known.
    """

    cell: AnyCell
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
    return trained + _from_files(suite, groups)


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
