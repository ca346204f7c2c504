"""Simulated suites of several cells, for the mark of a difference from the baseline, by the rule used and by others."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control
from scipy.stats import t as student

from calbench.benchmark.statistics.block import Block
from calbench.benchmark.statistics.contrast import Z95, Contrast, difference, holm, hommel
from calbench.benchmark.statistics.moderated import Spread, priors, table_priors
from calbench.benchmark.statistics.seed_value import SeedValue

SEEDS = (2, 3, 5, 10)
BASELINE = "network 1"
_NETWORKS, _CALIBRATORS, _REPLICATES = 4, 3, 50
_SAMPLING, _SHARED = 0.5, 0.9
"""Standard deviation over test samples relative to that over seeds, and the correlation of two entries' errors."""

Generator = np.random.Generator
Values = list[dict[str, dict[int, SeedValue]]]
"""The estimates of each cell by entry and seed."""


@dataclass(frozen=True)
class SuiteWorld:
    """Four networks, each alone and with two calibrators, over several cells; the first network is the baseline.

    A calibrator removes 70 % of what its network scatters over seeds and adds some of its own, so that the entries of a
    network, and all changes, which contain the baseline, depend on each other.

    Attributes:
        cells: pairs of dataset and backbone.
        unequal: standard deviation of the logarithm of the cells' spreads over seeds.
        one_large: the factor of the first cell's spread.
        extreme: the factor of the last network's spread.
        lognormal: whether values are skewed.
        effect: by how many standard deviations over seeds half of the entries differ from the baseline in truth.
        level: the true value of the baseline in standard deviations over seeds of its cell.
    """

    cells: int
    unequal: float = 0.5
    one_large: float = 1.0
    extreme: float = 1.0
    lognormal: bool = False
    effect: float = 0.0
    level: float = 100.0

    def draw(self, seeds: int, generator: Generator) -> tuple[Values, np.ndarray]:
        """The estimates, and which entries differ in truth (entries,), the baseline first."""
        shape = (self.cells, _NETWORKS, 1, 1)
        cell = np.exp(self.unequal * generator.normal(size=(self.cells, 1, 1, 1)))
        cell[0] *= self.one_large
        spread = np.exp(0.4 * generator.normal(size=(1, *shape[1:])) + 0.2 * generator.normal(size=shape))
        spread[:, -1] *= self.extreme
        kept = np.array([1.0] + [0.3] * (_CALIBRATORS - 1))[:, None]
        network = self._scatter(generator.normal(size=(self.cells, _NETWORKS, 1, seeds)))
        own = generator.normal(size=(self.cells, _NETWORKS, _CALIBRATORS, seeds))
        values = cell * spread * (kept * network + 0.15 * own)
        count = _NETWORKS * _CALIBRATORS
        true = np.zeros(count, dtype=bool)
        if self.effect:
            true[1 + generator.permutation(count - 1)[: (count - 1) // 2]] = True
        scale = np.sqrt((spread * kept) ** 2 + spread[:, :1] ** 2)
        scale[:, 0] = 0.7 * spread[:, 0]  # a calibrator of the baseline differs from it by what it removes
        values = (values + self.effect * cell * scale * true.reshape(_NETWORKS, _CALIBRATORS, 1)).reshape(
            self.cells, count, seeds
        )
        noise = _SAMPLING * cell[:, :, 0] * _correlated(self.cells, count, seeds, 1, generator)[..., 0]
        return self._estimates(cell[:, 0, 0, 0], values, noise, generator), true

    def _scatter(self, normal: np.ndarray) -> np.ndarray:
        if not self.lognormal:
            return normal
        return (np.exp(0.7 * normal) - np.exp(0.245)) / np.sqrt((np.exp(0.49) - 1) * np.exp(0.49))

    def _estimates(
        self, cells: np.ndarray, values: np.ndarray, noise: np.ndarray, generator: Generator
    ) -> Values:  # fmt: skip
        found: Values = []
        nan = float("nan")
        for cell, truth, error in zip(cells, values, noise, strict=True):
            sampling = _SAMPLING * cell
            drawn = sampling * _correlated(1, truth.shape[0], truth.shape[1], _REPLICATES, generator)[0]
            seen, margin = self.level * cell + truth + error, Z95 * sampling
            found.append({
                _entry(place): {
                    seed: SeedValue(float(value), value - margin, value + margin, nan, nan, nan, "", value + one)
                    for seed, (value, one) in enumerate(zip(row, replicates, strict=True))
                }
                for place, (row, replicates) in enumerate(zip(seen, drawn, strict=True))
            })  # fmt: skip
        return found


def _entry(place: int) -> str:
    network, calibrator = divmod(place, _CALIBRATORS)
    return f"network {network + 1}" + (f" + calibrator {calibrator}" if calibrator else "")


def _correlated(cells: int, entries: int, seeds: int, draws: int, generator: Generator) -> np.ndarray:
    shared = np.sqrt(_SHARED) * generator.normal(size=(cells, 1, 1, draws))
    return shared + np.sqrt(1 - _SHARED) * generator.normal(size=(cells, entries, seeds, draws))


def suite_rows(world: SuiteWorld, generator: Generator) -> Iterator[dict[str, Any]]:
    """Marks of every cell of one suite: whether one is wrong, and the share of true differences that have it."""
    name = f"{world.cells} {'cell' if world.cells == 1 else 'cells'}"
    for seeds in SEEDS:
        values, true = world.draw(seeds, generator)
        shared = {"metric": "nll", "seeds": seeds}
        for marked, covered in _used(values, true):
            yield shared | {
                "kind": "level",
                "label": f"a wrong mark in a table of 12, {name}",
                "seen": marked[~true].any(),
            }
            if world.effect:
                yield from (
                    shared | {"kind": "power", "label": f"differs (no ~), {name}", "seen": bool(one)}
                    for one in marked[true]
                )
            else:
                yield from (
                    shared | {"kind": "level", "label": f"an interval without the true {what}, {name}", "seen": not one}
                    for what, ones in covered.items()
                    for one in ones[1:]  # of the changes that have an interval
                    if one is not None
                )
        for rule, marks in _others(values).items():
            label = f"{rule}, {name}"
            for marked in marks:
                yield shared | {"kind": "tried", "label": f"a wrong mark: {label}", "seen": marked[~true].any()}
                yield from (
                    shared | {"kind": "tried", "label": f"a true difference: {label}", "seen": bool(one)}
                    for one in marked[true]
                )


def _used(values: Values, true: np.ndarray) -> Iterator[tuple[np.ndarray, dict[str, list[bool | None]]]]:
    """By the rule of the tables: which entries differ, and whether intervals of a change and of its ratio include 0."""
    frame = pd.DataFrame([
        {"dataset": cell, "backbone": "", "entry": entry, "seed": seed, "value": one.value, "debiased": one.debiased}
        for cell, entries in enumerate(values) for entry, by_seed in entries.items() for seed, one in by_seed.items()
    ]).assign(metric="nll")  # fmt: skip
    changes = {_entry(place): (_entry(place), BASELINE) for place in range(1, len(true))}
    known = table_priors(frame, changes, ("metric",))["nll",] if len(values[0][BASELINE]) > 1 else {}
    for entries in values:
        rows = Block("nll", entries, BASELINE, {}, known).changes()
        marked = np.array([bool(row["differs"]) for row in rows])
        yield marked, {kind: [_includes_zero(row, kind) for row in rows] for kind in ("change", "reduction")}


def _includes_zero(row: Mapping[str, Any], kind: str) -> bool | None:
    low, high = row[f"{kind}_low"], row[f"{kind}_high"]
    return None if np.isnan(low) else low <= 0 <= high


Adjust = Callable[[np.ndarray], np.ndarray]


def _others(values: Values) -> dict[str, list[np.ndarray]]:
    """The marks of every cell by rules that were tried and are not used."""
    marks: dict[str, list[np.ndarray]] = {}
    for entries in values:
        block = Block("nll", entries, BASELINE, {})
        seeds = tuple(entries[BASELINE])
        known = {entry: side for entry in entries if (side := block.side(entry, seeds)) is not None}
        base = known.pop(BASELINE)
        contrasts = {entry: difference(side, base) for entry, side in known.items()}
        own = np.array([contrast.p_value() for contrast in contrasts.values()])
        borrowed = np.array([one.p_value() for one in _over_entries(contrasts).values()])
        satterthwaite = np.array([_satterthwaite(contrast) for contrast in contrasts.values()])
        rules: Mapping[str, tuple[np.ndarray, Adjust]] = {
            "own spread, Holm (before)": (own, holm), "own spread, Hommel": (own, hommel),
            "own spread, Benjamini-Hochberg": (own, false_discovery_control),
            "Satterthwaite, Holm": (satterthwaite, holm), "spread of the cell's entries, Holm": (borrowed, holm),
        }  # fmt: skip
        for name, (p, adjust) in rules.items():
            marks.setdefault(name, []).append(np.concatenate([[False], adjust(p) <= 0.05]))
    return marks


def _over_entries(contrasts: Mapping[str, Contrast]) -> dict[str, Contrast]:
    """Contrasts with a variance that is moderated over the entries of the cell, as if these were independent."""
    spreads = [Spread("", one.seeds, one.seed_error**2 * one.seeds) for one in contrasts.values()]
    known = priors(spreads, largest_share=np.inf)
    return {name: known["", one.seeds].moderate(one) for name, one in contrasts.items()}


def _satterthwaite(contrast: Contrast) -> float:
    """One variance of both sources, with the degrees of freedom of Satterthwaite 1946."""
    samples = (contrast.lower + contrast.upper) / 2 / Z95
    variance = samples**2 + contrast.seed_error**2
    degrees = (contrast.seeds - 1) * variance**2 / contrast.seed_error**4
    return float(2 * student.sf(abs(contrast.estimate) / np.sqrt(variance), min(degrees, 1e6)))
