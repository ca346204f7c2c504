"""Paired comparison of the entries of one dataset and backbone, over seeds and test samples."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from calbench.benchmark.core.schema import COMPARISON_COLUMNS, NOISE_FLOOR_95, ORACLE, RESULT_COLUMNS, Address
from calbench.benchmark.metrics.base import better_direction, cost, relative_reduction

Replicates = Mapping[Address, Mapping[str, np.ndarray]]

_GROUP = ["dataset", "backbone", "split", "checkpoint"]
_NAN = (float("nan"), float("nan"))


def compare(
    results: pd.DataFrame,
    replicates: Replicates,
    baseline: str,
    *,
    expected_seeds: int,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare every entry with the baseline and with the best entry of its dataset and backbone.

    A value is the mean over the seeds that are there; a change is paired, over the seeds that both entries have.
    Intervals are 95 % percentile intervals of a hierarchical bootstrap: seeds are drawn with replacement, and each draw
    uses one resample of the test samples, the same for all entries and seeds. With one seed only samples are resampled;
    with two or three, drawing them understates their spread, by a factor of sqrt((S - 1) / S).

    Args:
        results: tidy results with `RESULT_COLUMNS`; backbone, seed, checkpoint and split may be empty.
        replicates: bootstrap values (R,) by address and metric, paired within a dataset, split and checkpoint; where
            there are none, as for results read from a paper, intervals are NaN and nothing is said of significance.
        baseline: the entry that changes and reductions refer to.
        expected_seeds: how many seeds an entry should have.
        seed: of the draws of seeds.

    Returns:
        One row per dataset, backbone, entry, split, checkpoint and metric, with `COMPARISON_COLUMNS`. ``differs`` and
        ``tied_with_best`` are True, False or None, where replicates do not say, or the metric is not registered and so
        has no best; ``calibrated`` is None for every metric but ``ece``.

    Raises:
        ValueError: columns are missing, a value is listed twice, or replicates of one group differ in number.
    """
    missing = [column for column in RESULT_COLUMNS[:10] if column not in results]
    if missing:
        raise ValueError(f"results: no column {missing[0]!r}; expected {', '.join(RESULT_COLUMNS)}")
    table = results[RESULT_COLUMNS[:10]].copy()
    table["value"] = pd.to_numeric(table["value"], errors="coerce").astype(float)
    table["seed"] = pd.to_numeric(table["seed"], errors="coerce").fillna(0).astype(int)
    labels = [*_GROUP, "entry", "metric"]
    table[labels] = table[labels].fillna("").astype(str)
    repeated = table.duplicated([*labels, "seed"])
    if repeated.any():
        raise ValueError(f"results: listed twice: {dict(table.loc[repeated, [*labels, 'seed']].iloc[0])}")
    rows: list[dict[str, Any]] = []
    for key, group in table.groupby(_GROUP, sort=False):
        where = dict(zip(_GROUP, key, strict=True))
        loaded = _load(replicates, where, group[["entry", "seed"]].drop_duplicates().itertuples(index=False))
        floors = group[group["metric"] == NOISE_FLOOR_95].groupby("entry")["value"].mean().to_dict()
        for metric, part in group.groupby("metric", sort=False):
            block = _Block(part, loaded, metric, better_direction(metric), baseline, seed)
            rows += [
                where | row | {"metric": metric, "baseline": baseline, "expected_seeds": expected_seeds}
                for row in block.rows(floors if metric == "ece" else {})
            ]
    flags = dict.fromkeys(("differs", "tied_with_best", "calibrated"), object)  # with None among them, never bool
    return pd.DataFrame(rows, columns=COMPARISON_COLUMNS).astype(flags)


def _load(replicates: Replicates, where: Mapping[str, str], cells: Any) -> dict[tuple[str, int], Mapping[str, Any]]:
    found = {}
    for entry, seed in cells:
        address = (where["dataset"], where["backbone"], entry, seed, where["checkpoint"], where["split"])
        try:  # one look-up: `in` would read a replicate that is kept on disk once more
            found[entry, seed] = replicates[address]
        except KeyError:
            continue
    return found


_DRAWN = ("value", "change", "reduction", "behind_best")


@dataclass
class _Block:
    """One metric of all entries of one dataset, backbone, split and checkpoint."""

    part: pd.DataFrame
    loaded: Mapping[tuple[str, int], Mapping[str, np.ndarray]]
    metric: str
    better: str | None
    baseline: str
    seed: int
    _draws: dict[tuple[int, ...], np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.values: dict[str, dict[int, float]] = {}
        for entry, seed, value in zip(*(self.part[c].tolist() for c in ("entry", "seed", "value")), strict=True):
            if np.isfinite(value):
                self.values.setdefault(entry, {})[seed] = value
        sizes = {len(self._replicate(e, s)) for e, by_seed in self.values.items() for s in by_seed if self._has(e, s)}
        if len(sizes) > 1:
            raise ValueError(f"replicates of {self.metric} differ in number: {sorted(sizes)}")
        self.size = sizes.pop() if sizes else 0

    def _has(self, entry: str, seed: int) -> bool:
        return self.metric in self.loaded.get((entry, seed), {})

    def _replicate(self, entry: str, seed: int) -> np.ndarray:
        return self.loaded[entry, seed][self.metric]

    def rows(self, floors: Mapping[str, float]) -> list[dict[str, Any]]:
        best = self._best()
        drawn = {(entry, name): values for entry in self.values for name, values in self._all_drawn(entry, best)}
        ends = dict(zip(drawn, _intervals(list(drawn.values())), strict=True))
        return [self._row(entry, best, ends, floors.get(entry)) for entry in self.values]

    def _best(self) -> str | None:
        if self.better is None:
            return None
        costs = {e: cost(self._mean(e, tuple(v)), self.better) for e, v in self.values.items() if e != ORACLE}
        return min(costs, key=costs.__getitem__) if costs else None

    def _all_drawn(self, entry: str, best: str | None) -> Iterator[tuple[str, np.ndarray]]:
        """The bootstrap distributions (R,) that replicates give: of the value and of its differences."""
        if not self.size:
            return
        own = self._drawn(entry, tuple(sorted(self.values[entry])))
        if own is not None:
            yield "value", own
        shared = self._common(entry, self.baseline)
        own, base = self._drawn(entry, shared), self._drawn(self.baseline, shared)
        if own is not None and base is not None:
            yield "change", own - base
            yield "reduction", relative_reduction(own, base, self.better)
        if best is None or entry == ORACLE:
            return
        shared = self._common(entry, best)
        own, lead = self._drawn(entry, shared), self._drawn(best, shared)
        if own is not None and lead is not None:
            yield "behind_best", cost(own, self.better) - cost(lead, self.better)

    def _row(
        self, entry: str, best: str | None, ends: Mapping[tuple[str, str], tuple[float, float]], floor: float | None
    ) -> dict[str, Any]:
        seeds, shared = tuple(self.values[entry]), self._common(entry, self.baseline)
        low, high, change_low, change_high, reduction_low, reduction_high, *behind = (
            end for name in _DRAWN for end in ends.get((entry, name), _NAN)
        )
        value = self._mean(entry, seeds)
        own, base = (self._mean(e, shared) if shared else float("nan") for e in (entry, self.baseline))
        tied = None if np.isnan(behind[0]) else bool(entry == best or behind[0] <= 0 <= behind[1])
        return {
            "entry": entry,
            "seeds": len(seeds),
            "value": value,
            "low": low,
            "high": high,
            "change": own - base,
            "change_low": change_low,
            "change_high": change_high,
            "reduction": float(relative_reduction(own, base, self.better)),
            "reduction_low": reduction_low,
            "reduction_high": reduction_high,
            "differs": None if np.isnan(change_low) else not change_low <= 0 <= change_high,
            "tied_with_best": tied,
            "calibrated": None if floor is None else bool(value <= floor),
        }

    def _common(self, first: str, second: str) -> tuple[int, ...]:
        return tuple(sorted(self.values.get(first, {}).keys() & self.values.get(second, {}).keys()))

    def _mean(self, entry: str, seeds: tuple[int, ...]) -> float:
        return sum(self.values[entry][s] for s in seeds) / len(seeds)

    def _drawn(self, entry: str, seeds: tuple[int, ...]) -> np.ndarray | None:
        """The bootstrap distribution of the mean over `seeds` (R,), or None where a replicate is missing."""
        if not seeds or not all(self._has(entry, s) for s in seeds):
            return None
        if seeds not in self._draws:
            generator = np.random.default_rng(self.seed)
            picks = generator.integers(0, len(seeds), (self.size, len(seeds)))
            self._draws[seeds] = (picks[:, :, None] == np.arange(len(seeds))).mean(axis=1).T
        return sum(w * self._replicate(entry, s) for w, s in zip(self._draws[seeds], seeds, strict=True))


def _intervals(drawn: list[np.ndarray]) -> list[tuple[float, float]]:
    """The 95 % percentile interval of each of `drawn` (R,); NaN where a value is."""
    if not drawn:
        return []
    low, high = np.quantile(np.stack(drawn), [0.025, 0.975], axis=1)
    return list(zip(low.tolist(), high.tolist(), strict=True))
