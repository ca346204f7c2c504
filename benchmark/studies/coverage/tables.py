"""Simulated tables of twelve entries, for the mark of the best: values over seeds with known means, no predictions."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from calbench.benchmark.statistics.block import Block
from calbench.benchmark.statistics.contrast import Z95
from calbench.benchmark.statistics.seed_value import SeedValue

SEEDS = (2, 3, 5)
_REPLICATES = 100
_SAMPLING = 0.01
"""Standard deviation of a value over test samples, of which seven tenths of the variance are shared by all entries."""

Generator = np.random.Generator
Values = Mapping[str, Mapping[int, SeedValue]]


@dataclass(frozen=True)
class TableWorld:
    """Twelve entries of equal mean 1, or eleven and one that is worse.

    Values over seeds are normal, or for `metric` nll lognormal, with the standard deviations `spreads`; half of their
    variance is shared by neighbouring pairs of entries, as by two calibrators of one network.

    Attributes:
        metric: nll, which is compared by its logarithm, or accuracy, which is not.
        spreads: standard deviation over seeds of each entry.
        worse: by how many of its standard deviations over seeds the last entry is worse.
    """

    metric: Literal["nll", "accuracy"]
    spreads: tuple[float, ...]
    worse: float = 0.0

    def draw(self, seeds: int, generator: Generator) -> Values:
        """The estimates of all entries, with bootstrap replicates."""
        spreads = np.array(self.spreads)[:, None]
        own, network = generator.normal(size=(2, len(spreads), seeds))
        means = np.ones((len(spreads), 1))
        means[-1] += self.worse * self.spreads[-1] * (1 if self.metric == "nll" else -1)
        scatter = np.sqrt(0.5) * (own + np.repeat(network[::2], 2, axis=0))
        if self.metric == "nll":
            log_variance = np.log1p((spreads / means) ** 2)
            population = means * np.exp(np.sqrt(log_variance) * scatter - log_variance / 2)
        else:
            population = means + spreads * scatter
        noise = _SAMPLING * _correlated(len(spreads), seeds, 1, generator)[..., 0]
        replicates = population[..., None] + _SAMPLING * _correlated(len(spreads), seeds, _REPLICATES, generator)
        values = population + noise
        return {
            f"entry {place + 1}": {
                seed: _seed_value(values[place, seed], replicates[place, seed]) for seed in range(seeds)
            }
            for place in range(len(spreads))
        }


def _correlated(entries: int, seeds: int, draws: int, generator: Generator) -> np.ndarray:
    """Standard normal errors (entries, seeds, draws) with a correlation of 0.7 between entries and seeds."""
    shared = np.sqrt(0.7) * generator.normal(size=draws)
    return shared + np.sqrt(0.3) * generator.normal(size=(entries, seeds, draws))


def _seed_value(value: float, replicates: np.ndarray) -> SeedValue:
    margin = Z95 * _SAMPLING
    nan = float("nan")
    return SeedValue(float(value), value - margin, value + margin, nan, nan, nan, "", replicates)


EQUAL = (0.05,) * 12
UNEQUAL = tuple(np.geomspace(0.02, 0.5, 12).round(3).tolist())
"""The last entry scatters 25 times as much as the first one."""


def table_rows(world: TableWorld, generator: Generator) -> Iterator[dict[str, Any]]:
    """Whether each of twelve best entries lacks the mark, or whether the one that is worse does."""
    label = "equal spread" if len(set(world.spreads)) == 1 else "unequal spread"
    for seeds in SEEDS:
        values = world.draw(seeds, generator)
        rows = Block(world.metric, values, "entry 1", {}).rows()
        shared = {"metric": world.metric, "seeds": seeds}
        if not world.worse:
            for row in rows:
                yield shared | {"kind": "level", "label": f"a best one of 12 not bold, {label}",
                                "seen": not row["tied_with_best"]}  # fmt: skip
            continue
        best = min(rows, key=lambda row: row["value"] * (1 if world.metric == "nll" else -1))["entry"]
        by_holm = Block(world.metric, values, best, {}).rows()[-1]
        found = {"not bold": not rows[-1]["tied_with_best"], "differs from the best (Holm)": by_holm["differs"]}
        for mark, seen in found.items():
            text = f"{mark}: one of 12 worse by {world.worse:g} s.d., {label}"
            yield shared | {"kind": "power", "label": text, "seen": seen}
