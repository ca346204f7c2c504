"""Reads `Results` for reports: the value and the interval of each cell, or the reason why it is missing."""

from collections.abc import Container, Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from calbench.benchmark.core.schema import (
    COMPARISON_COLUMNS,
    NOISE_FLOOR,
    NOISE_FLOOR_95,
    ORACLE,
    RESULT_COLUMNS,
    as_flag,
)
from calbench.benchmark.metrics.base import registry, relative_reduction
from calbench.benchmark.report.tables.stat import FLAGS, KEY_COLUMNS, NUMBERS, TEXTS, Key, Stat, keys_of, known_numbers
from calbench.benchmark.results.records import CellRecord, EntryRecord, MetricRecord, RunRecord
from calbench.benchmark.results.results import Results


@dataclass
class View:
    """`Results` at one split and one checkpoint rule, by (dataset, backbone, entry, metric).

    Args:
        results: what to show.
        split: the split whose values are shown.
        checkpoint: the checkpoint rule; None is the protocol's own (the first one of the table where it names none).
        chosen: the entries to show, together with the baseline; all by default.
    """

    results: Results
    split: str = "test"
    checkpoint: str | None = None
    chosen: tuple[str, ...] = ()
    run: RunRecord = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.run = self.results.run
        if self.checkpoint is None:
            self.checkpoint = main_checkpoint(self.results)

    @property
    def baseline(self) -> str | None:
        """The entry that changes and reductions refer to."""
        return self.run.baseline

    @cached_property
    def table(self) -> pd.DataFrame:
        """The tidy results of this split and checkpoint."""
        return self._part(self.results.table, RESULT_COLUMNS)

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """The comparisons of this split and checkpoint."""
        return self._part(self.results.comparisons, COMPARISON_COLUMNS)

    def _part(self, frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
        frame = frame.reindex(columns=columns)
        if frame.empty:
            return frame
        return self._here(frame.assign(backbone=frame["backbone"].fillna(""), entry=frame["entry"].astype(str)))

    def _here(self, frame: pd.DataFrame) -> pd.DataFrame:
        at_split = frame["split"].isna() | (frame["split"] == self.split)
        at_rule = frame["checkpoint"].isna() | (frame["checkpoint"] == self.checkpoint)
        return frame[at_split & at_rule]

    @cached_property
    def pair_changes(self) -> pd.DataFrame:
        """The changes between pairs of shown entries, of this split and checkpoint, with `PAIR_COLUMNS`."""
        frame = self._here(self.results.pairs)
        shown = set(self.entries)
        return frame[frame["first"].isin(shown) & frame["second"].isin(shown)]

    @cached_property
    def tested(self) -> bool:
        """Whether any comparison has an interval."""
        return any(stat.low is not None for stat in self._compared_stats().values())

    @cached_property
    def stats(self) -> dict[Key, Stat]:
        """Every known value; where no comparison is stored, the plain mean over the seeds, without an interval."""
        compared = self._compared_stats()
        return self._plain_stats(compared.keys()) | compared

    def _compared_stats(self) -> dict[Key, Stat]:
        frame = self.comparisons
        columns = [known_numbers(frame[name]) for name in NUMBERS]
        columns += [[as_flag(value) for value in frame[name].tolist()] for name in FLAGS]
        columns += [["" if pd.isna(text) else str(text) for text in frame[name].tolist()] for name in TEXTS]
        seeds = pd.to_numeric(frame["seeds"], errors="coerce").fillna(0).astype(int).tolist()
        stats = zip(keys_of(frame), zip(*columns, seeds, strict=True), strict=True)
        return {key: Stat(*values) for key, values in stats if values[0] is not None}

    def _plain_stats(self, known: Container[Key]) -> dict[Key, Stat]:
        shown = ("value", "low", "high")
        table = self.table.assign(**{n: pd.to_numeric(self.table[n], errors="coerce").astype(float) for n in shown})
        table = table[np.isfinite(table["value"])]
        means = table.groupby(KEY_COLUMNS, sort=False).agg(
            value=("value", "mean"), low=("low", "first"), high=("high", "first"), seeds=("value", "size")
        )
        base_values = means["value"].to_dict()
        stats = {}
        for key, value, low, high, seeds in zip(means.index, *(known_numbers(means[n]) for n in means), strict=True):
            if key in known:
                continue
            base = base_values.get((key[0], key[1], self.baseline, key[3]))
            better = self.metric(key[3]).better
            stats[key] = Stat(
                value=value,
                low=low if seeds == 1 else None,
                high=high if seeds == 1 else None,
                change=None if base is None else value - base,
                reduction=relative_reduction(value, base, better) if base else None,
                seeds=int(seeds),
            )
        return stats

    @cached_property
    def seed_values(self) -> dict[Key, list[float]]:
        """The finite values of all seeds."""
        values: dict[Key, list[float]] = {}
        numbers = pd.to_numeric(self.table["value"], errors="coerce").tolist()
        for key, value in zip(keys_of(self.table), numbers, strict=True):
            if np.isfinite(value):
                values.setdefault(key, []).append(float(value))
        return values

    def stat(self, dataset: str, backbone: str, entry: str, metric: str) -> Stat:
        """What is known of a metric of an entry; an empty `Stat` where nothing is."""
        return self.stats.get((dataset, backbone, entry, metric), Stat())

    def floor(self, dataset: str, backbone: str, entry: str) -> tuple[float | None, float | None]:
        """The ECE under perfect calibration: its mean, and its 95th percentile."""
        if entry == ORACLE:
            stat, metrics = self.oracle(dataset, backbone, "ece"), (NOISE_FLOOR, NOISE_FLOOR_95)
            mean, upper = (self.oracle(dataset, backbone, name).value for name in metrics)
        else:
            stat = self.stat(dataset, backbone, entry, "ece")
            mean, upper = (self.stat(dataset, backbone, entry, name).value for name in (NOISE_FLOOR, NOISE_FLOOR_95))
        return (
            mean if stat.noise_floor is None else stat.noise_floor,
            upper if stat.noise_floor_95 is None else stat.noise_floor_95,
        )

    def oracle(self, dataset: str, backbone: str, metric: str) -> Stat:
        """The Bayes posterior's value on `dataset`; it does not depend on the backbone."""
        if (dataset, backbone, ORACLE, metric) in self.stats:
            return self.stats[dataset, backbone, ORACLE, metric]
        return self._oracles.get((dataset, metric), Stat())

    @cached_property
    def _oracles(self) -> dict[tuple[str, str], Stat]:
        return {(k[0], k[3]): stat for k, stat in self.stats.items() if k[2] == ORACLE}

    @cached_property
    def datasets(self) -> list[str]:
        """The suite's datasets, in its order."""
        return self._names(self.run.datasets, "dataset")

    @cached_property
    def backbones(self) -> list[str]:
        """The suite's backbones, in its order."""
        return [name for name in self._names(self.run.backbones, "backbone", skip=ORACLE) if name not in ("", "-")]

    @cached_property
    def entries(self) -> list[str]:
        """The suite's entries, in its order; the oracle is none of them."""
        listed = [record.entry for record in self.run.entries]
        every = [e for e in _unique([*listed, *self._column("entry")]) if e != ORACLE]
        return [e for e in every if e in self.chosen or e == self.baseline] if self.chosen else every

    def _names(self, listed: Iterable[str], column: str, skip: str | None = None) -> list[str]:
        return _unique([*listed, *self._column(column, skip)])

    def _column(self, column: str, skip: str | None = None) -> list[str]:
        names: list[str] = []
        for frame in (self.table, self.comparisons):
            part = frame[frame["entry"] != skip] if skip else frame
            names += [str(name) for name in part[column].dropna().unique()]
        return names

    @cached_property
    def records(self) -> dict[str, EntryRecord]:
        """The record of each entry; of one that run.json does not list, its name and recipe."""
        records = {record.entry: record for record in self.run.entries}
        first = self.table.drop_duplicates("entry").set_index("entry")
        for entry in self.entries:
            if entry not in records:
                recipe = first.at[entry, "recipe"] if entry in first.index else None
                known = isinstance(recipe, str) and recipe
                records[entry] = EntryRecord(entry=entry, label=entry, recipe=str(recipe) if known else entry)
        return records

    @cached_property
    def labels(self) -> dict[str, str]:
        """A short label for each entry; the entry's own name where two would share one."""
        labels = {entry: self.records[entry].label or entry for entry in self.entries}
        taken = list(labels.values())
        return {entry: label if taken.count(label) == 1 else entry for entry, label in labels.items()} | {
            ORACLE: "Oracle"
        }

    def short(self, name: str) -> str:
        """The short label of a dataset or backbone; the name where the suite has none for it."""
        return self.run.labels.get(name, name)

    @cached_property
    def metrics(self) -> dict[str, MetricRecord]:
        """How each metric is shown, from the record of the run."""
        return {metric.name: metric for metric in self.run.metrics}

    def metric(self, name: str) -> MetricRecord:
        """How metric `name` is shown; as the registry declares it, or plain, where the run does not list it."""
        return self.metrics.get(name) or _registered(name)

    def knows(self, metric: str) -> bool:
        """Whether the run lists `metric`, or there is any value of it."""
        return metric in self.metrics or metric in self._measured

    @cached_property
    def _measured(self) -> dict[str, None]:
        return dict.fromkeys(key[3] for key in self.stats)

    @cached_property
    def metric_names(self) -> list[str]:
        """The metrics that the run lists, then all others that have values."""
        return _unique([*self.metrics, *self._measured])

    @cached_property
    def has_floor(self) -> bool:
        """Whether a noise floor of the ECE is known."""
        return self.knows(NOISE_FLOOR) or any(stat.noise_floor is not None for stat in self.stats.values())

    @cached_property
    def debiased_metrics(self) -> set[str]:
        """The calibration errors with a debiased estimate."""
        return {key[3] for key, stat in self.stats.items() if stat.debiased is not None}

    @cached_property
    def truth_metrics(self) -> list[str]:
        """The metrics with values that compare with the true posterior."""
        return [name for name in self._measured if name in registry and "posterior" in registry[name].needs]

    @cached_property
    def truth_datasets(self) -> set[str]:
        """The datasets whose true posterior is known."""
        return {key[0] for key in self.stats if key[3] in self.truth_metrics}

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """The (dataset, backbone) pairs of the suite: those with a planned cell or a value."""
        planned = {(cell.dataset, cell.backbone) for cell in self.run.cells}
        known = planned | {(key[0], key[1]) for key in self.stats if key[2] != ORACLE}
        pairs = [(d, b) for d in self.datasets for b in self.backbones if (d, b) in known]
        return pairs or [(d, b) for d in self.datasets for b in self.backbones]

    @cached_property
    def _cells(self) -> dict[tuple[str, str, str], list[CellRecord]]:
        cells: dict[tuple[str, str, str], list[CellRecord]] = {}
        for cell in self.run.cells:
            cells.setdefault((cell.dataset, cell.backbone, cell.recipe), []).append(cell)
        return cells

    def cells(self, dataset: str, backbone: str, entry: str) -> list[CellRecord]:
        """The training runs behind an entry, a record each."""
        return self._cells.get((dataset, backbone, self.records[entry].recipe or entry), [])

    @cached_property
    def _seeds(self) -> dict[tuple[str, str, str], set[str]]:
        seeds: dict[tuple[str, str, str], set[str]] = {}
        runs = self.table[["dataset", "backbone", "entry", "seed"]].drop_duplicates()
        for dataset, backbone, entry, seed in runs.itertuples(index=False):
            seeds.setdefault((dataset, backbone, entry), set()).add(_seed(seed))
        return seeds

    def reasons(self, dataset: str, backbone: str, entry: str) -> list[str]:
        """Why seeds of an entry have no values: one line for each reason, with its seeds; empty where all have some.

        A cell may have failed only for another entry (a calibrator cannot be fitted); this one has values then.
        """
        seeds: dict[str, list[str]] = {}
        known = self._seeds.get((dataset, backbone, entry), set())
        for cell in self.cells(dataset, backbone, entry):
            if cell.status != "done" and str(cell.seed) not in known:
                reason = ": ".join(part for part in (cell.status, cell.reason) if part)
                seeds.setdefault(reason, []).append(str(cell.seed))
        return [f"{reason} ({'seed' if len(s) == 1 else 'seeds'} {', '.join(s)})" for reason, s in seeds.items()]


def _seed(value: Any) -> str:
    """A seed as written in the record: a column with an empty cell contains floats."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _registered(name: str) -> MetricRecord:
    """The record of a metric that the run does not describe; its name only where the registry lacks it too."""
    return MetricRecord(**registry[name].describe()) if name in registry else MetricRecord(name=name, label=name)


def main_checkpoint(results: Results) -> str | None:
    """The checkpoint rule whose values the tables show: the protocol's, else the first one of the table."""
    named = results.run.protocol.main_checkpoint
    known = list(results.table["checkpoint"].dropna().unique()) if "checkpoint" in results.table else []
    return named if named in known or not known else str(known[0])


def _unique(names: Iterable[Hashable]) -> list:
    return list(dict.fromkeys(names))
