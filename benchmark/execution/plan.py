"""The plan: which cells the entries of a suite need, each once, and what each cell is called in the cache."""

from collections.abc import Callable
from dataclasses import dataclass

from calbench.benchmark.config.cell import Cell, FileCell, file_fingerprint
from calbench.benchmark.config.entry import DEFAULT_OBJECTIVE, Entry, Recipe, parse_entry
from calbench.benchmark.config.suite import Suite
from calbench.benchmark.core.hashing import digest
from calbench.datasets import Dataset


@dataclass(frozen=True)
class Work:
    """A cell and the entries that are evaluated on its predictions.

    ``oracle`` says whether the Bayes posterior is evaluated here too: in the first recipe's cells where it is known.
    """

    cell: Cell | FileCell
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
    return trained + _given(suite, [groups[key] for key in groups if key == digest(_untrained().identity())])


def _untrained() -> Recipe:
    """The recipe that stands for "as the file has it": no training-time method."""
    return parse_entry(DEFAULT_OBJECTIVE).recipe


def _given(suite: Suite, groups: list[tuple[Recipe, list[Entry]]]) -> list[Work]:
    """The cells of the suite's files of predictions: training-time methods cannot be applied to them any more."""
    sources = [(source, file_fingerprint(source)) for source in suite.config.predictions]
    return [
        Work(FileCell(source, fingerprint, recipe, seed), tuple(entries))
        for seed in suite.seeds
        for source, fingerprint in sources
        for recipe, entries in groups
    ]
