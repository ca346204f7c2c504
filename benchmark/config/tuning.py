"""The options that a tuned entry tries: the same number of trials for every method that has options to tune."""

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from calbench.benchmark.core.errors import InputError, check_names
from calbench.benchmark.core.registry import option_defaults
from calbench.benchmark.core.seeds import seed_for
from calbench.methods import registry

AFFECTS_RESULTS = False

Term = tuple[str, dict[str, Any]]
"""The name of a method and the options that are set."""

Grids = Mapping[str, Mapping[str, Sequence[Any]]]


@dataclass(frozen=True)
class Tuning:
    """How an entry is tuned.

    Attributes:
        trials: how many settings are tried, the defaults among them.
        grids: values to try by method and option, in place of those that the methods declare as ``tune_grid``.
    """

    trials: int
    grids: Grids

    @classmethod
    def of(cls, value: Any) -> "Tuning | None":
        """Read the ``tune`` of a suite or entry.

        Args:
            value: the number of trials, a mapping ``{method: {option: [values]}}`` (then every combination is a trial),
                or None for no tuning.

        Raises:
            InputError: anything else; an unknown method or option.
        """
        if value is None:
            return None
        if type(value) is int and value >= 2:
            return cls(value, {})
        if not isinstance(value, Mapping) or not all(isinstance(grid, Mapping) for grid in value.values()):
            raise InputError(
                f"tune: expected a number of trials from 2 on, or method: {{option: [values]}}, got {value!r}"
            )
        for name, grid in value.items():
            check_names(f"option of {name}", list(grid), option_defaults(registry[name]))
            for option, values in grid.items():
                if not isinstance(values, list) or len(values) < 2:
                    raise InputError(f"tune: {name}: {option}: expected a list of two values or more, got {values!r}")
        return cls(10**6, value)

    def settings(self, terms: Sequence[Term]) -> list[tuple[list[Term], str]]:
        """The trials of an entry: its terms with options filled in, and what was chosen in words.

        Options that the entry sets are not tuned. The defaults come first; of a larger grid as many other combinations
        as there are trials left are taken at random, the same in every run.

        Args:
            terms: of the entry, in order.

        Returns:
            An empty list where no method of the entry has anything to tune.
        """
        axes = [
            (place, option, list(values))
            for place, (name, given) in enumerate(terms)
            for option, values in self._grid(name).items()
            if option not in given
        ]
        if not axes:
            return []
        start = tuple(option_defaults(registry[terms[place][0]])[option] for place, option, _ in axes)
        others = [point for point in itertools.product(*(values for _, _, values in axes)) if point != start]
        points = others if self.grids and start not in itertools.product(*(v for _, _, v in axes)) else [start, *others]
        if len(points) > self.trials:
            picked = random.Random(seed_for(0, "tuning", repr(terms))).sample(others, self.trials - 1)
            points = [start, *sorted(picked, key=others.index)]
        return [_filled(terms, axes, point) for point in points]

    def _grid(self, name: str) -> Mapping[str, Sequence[Any]]:
        if self.grids or name not in registry:  # a variant of a trained network has nothing to tune
            return self.grids.get(name, {})
        return dict(registry[name].tune_grid)


def _filled(
    terms: Sequence[Term], axes: Sequence[tuple[int, str, Any]], point: Sequence[Any]
) -> tuple[list[Term], str]:
    filled = [(name, dict(options)) for name, options in terms]
    for (place, option, _), value in zip(axes, point, strict=True):
        filled[place][1][option] = value
    return filled, ", ".join(f"{option} = {value}" for (_, option, _), value in zip(axes, point, strict=True))
