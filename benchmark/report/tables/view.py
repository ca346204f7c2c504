"""Reading `Results` for reports: the value of each cell, what is known of it, and why it is missing."""

from collections.abc import Container, Hashable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from calbench.benchmark.core.schema import COMPARISON_COLUMNS, ORACLE, RESULT_COLUMNS
from calbench.benchmark.metrics.base import registry, relative_reduction
from calbench.benchmark.results.results import Results


@dataclass(frozen=True)
class MetricInfo:
    """How a metric is shown."""

    name: str
    label: str
    unit: str = ""
    better: str | None = None
    decimals: int = 2

    @property
    def reduction_label(self) -> str:
        """What its relative improvement is called."""
        return f"{self.label} {'gain' if self.better == 'higher' else 'reduction'}"

    @property
    def unit_of_changes(self) -> str:
        """Of a difference of two values: percentages differ in points."""
        return "points" if self.unit == "%" else self.unit


@dataclass(frozen=True)
class Stat:
    """One metric of one entry on one dataset and backbone, over its seeds; None where a thing is not known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    reduction: float | None = None
    reduction_low: float | None = None
    reduction_high: float | None = None
    differs: bool | None = None
    tied_with_best: bool | None = None
    calibrated: bool | None = None
    seeds: int = 0


Key = tuple[str, str, str, str]
"""Dataset, backbone, entry, metric."""

_KEY = ["dataset", "backbone", "entry", "metric"]
_NUMBERS = [field.name for field in fields(Stat) if field.type == float | None]
_FLAGS = [field.name for field in fields(Stat) if field.type == bool | None]


@dataclass
class View:
    """`Results` at one split and one checkpoint rule, by (dataset, backbone, entry, metric).

    Args:
        results: what to show.
        split: the split whose values are shown.
        checkpoint: the checkpoint rule; None is the protocol's own (the first one of the table where it names none).
    """

    results: Results
    split: str = "test"
    checkpoint: str | None = None
    run: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.run = self.results.run
        if self.checkpoint is None:
            self.checkpoint = main_checkpoint(self.results)

    @property
    def baseline(self) -> str | None:
        """The entry that changes and reductions refer to."""
        return self.run.get("baseline")

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
        frame = frame.assign(backbone=frame["backbone"].fillna(""), entry=frame["entry"].astype(str))
        at_split = frame["split"].isna() | (frame["split"] == self.split)
        at_rule = frame["checkpoint"].isna() | (frame["checkpoint"] == self.checkpoint)
        return frame[at_split & at_rule]

    @cached_property
    def stats(self) -> dict[Key, Stat]:
        """Every known value; where no comparison is stored, the plain mean over the seeds, without an interval."""
        compared = self._compared_stats()
        return self._plain_stats(compared.keys()) | compared

    def _compared_stats(self) -> dict[Key, Stat]:
        frame = self.comparisons
        columns = [_known(frame[name]) for name in _NUMBERS] + [map(_flag, frame[name].tolist()) for name in _FLAGS]
        seeds = pd.to_numeric(frame["seeds"], errors="coerce").fillna(0).astype(int).tolist()
        stats = zip(_keys(frame), zip(*columns, seeds, strict=True), strict=True)
        return {key: Stat(*values) for key, values in stats if values[0] is not None}

    def _plain_stats(self, known: Container[Key]) -> dict[Key, Stat]:
        shown = ("value", "low", "high")
        table = self.table.assign(**{n: pd.to_numeric(self.table[n], errors="coerce").astype(float) for n in shown})
        table = table[np.isfinite(table["value"])]
        means = table.groupby(_KEY, sort=False).agg(
            value=("value", "mean"), low=("low", "first"), high=("high", "first"), seeds=("value", "size")
        )
        base_values = means["value"].to_dict()
        stats = {}
        for key, value, low, high, seeds in zip(means.index, *(_known(means[n]) for n in means), strict=True):
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

    def stat(self, dataset: str, backbone: str, entry: str, metric: str) -> Stat:
        """What is known of a metric of an entry; an empty `Stat` where nothing is."""
        return self.stats.get((dataset, backbone, entry, metric), Stat())

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
        return self._names("datasets", "dataset")

    @cached_property
    def backbones(self) -> list[str]:
        """The suite's backbones, in its order."""
        return [name for name in self._names("backbones", "backbone", skip=ORACLE) if name not in ("", "-")]

    @cached_property
    def entries(self) -> list[str]:
        """The suite's entries, in its order; the oracle is none of them."""
        listed = [entry["entry"] for entry in self.run.get("entries", [])]
        return [e for e in _unique([*listed, *self._column("entry")]) if e != ORACLE]

    def _names(self, listed: str, column: str, skip: str | None = None) -> list[str]:
        return _unique([*self.run.get(listed, []), *self._column(column, skip)])

    def _column(self, column: str, skip: str | None = None) -> list[str]:
        found = []
        for frame in (self.table, self.comparisons):
            part = frame[frame["entry"] != skip] if skip else frame
            found += [str(name) for name in part[column].dropna().unique()]
        return found

    @cached_property
    def records(self) -> dict[str, dict[str, Any]]:
        """What run.json says of each entry: label, recipe, calibrator, methods."""
        records = {entry["entry"]: entry for entry in self.run.get("entries", [])}
        first = self.table.drop_duplicates("entry").set_index("entry")
        for entry in self.entries:
            if entry not in records:
                recipe = first.at[entry, "recipe"] if entry in first.index else None
                records[entry] = {"entry": entry, "label": entry, "recipe": recipe, "families": [], "methods": []}
        return records

    @cached_property
    def labels(self) -> dict[str, str]:
        """A short label for each entry; the entry's own name where two would share one."""
        labels = {entry: str(self.records[entry].get("label") or entry) for entry in self.entries}
        taken = list(labels.values())
        return {entry: label if taken.count(label) == 1 else entry for entry, label in labels.items()} | {
            ORACLE: "Oracle"
        }

    @cached_property
    def metrics(self) -> dict[str, MetricInfo]:
        """How each metric is shown, from the record of the run."""
        known = {"name", "label", "unit", "better", "decimals"}
        listed = (MetricInfo(**{k: v for k, v in m.items() if k in known}) for m in self.run.get("metrics", []))
        return {metric.name: metric for metric in listed}

    def metric(self, name: str) -> MetricInfo:
        """How metric `name` is shown; plain where the run does not say."""
        return self.metrics.get(name) or MetricInfo(**_registered(name))

    def knows(self, metric: str) -> bool:
        """Whether the run lists `metric`, or any value of it was found."""
        return metric in self.metrics or metric in self._found_metrics

    @cached_property
    def _found_metrics(self) -> dict[str, None]:
        return dict.fromkeys(key[3] for key in self.stats)

    @cached_property
    def metric_names(self) -> list[str]:
        """The metrics that the run lists, then all others of which values were found."""
        return _unique([*self.metrics, *self._found_metrics])

    @cached_property
    def truth_metrics(self) -> list[str]:
        """The metrics with values that compare with the true posterior."""
        return [name for name in self._found_metrics if name in registry and "posterior" in registry[name].needs]

    @cached_property
    def truth_datasets(self) -> set[str]:
        """The datasets whose true posterior is known."""
        return {key[0] for key in self.stats if key[3] in self.truth_metrics}

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """The (dataset, backbone) pairs of the suite: those with a cell planned or a value found."""
        planned = {(cell["dataset"], cell["backbone"]) for cell in self.run.get("cells", [])}
        found = {(key[0], key[1]) for key in self.stats if key[2] != ORACLE}
        pairs = [(d, b) for d in self.datasets for b in self.backbones if (d, b) in planned | found]
        return pairs or [(d, b) for d in self.datasets for b in self.backbones]

    @cached_property
    def _cells(self) -> dict[tuple[str, str, str], list[dict[str, Any]]]:
        cells: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for cell in self.run.get("cells", []):
            cells.setdefault((cell["dataset"], cell["backbone"], cell["recipe"]), []).append(cell)
        return cells

    def cells(self, dataset: str, backbone: str, entry: str) -> list[dict[str, Any]]:
        """The training runs behind an entry, a record each."""
        return self._cells.get((dataset, backbone, self.records[entry].get("recipe") or entry), [])

    @cached_property
    def _seeds_found(self) -> dict[tuple[str, str, str], set[str]]:
        found: dict[tuple[str, str, str], set[str]] = {}
        runs = self.table[["dataset", "backbone", "entry", "seed"]].drop_duplicates()
        for dataset, backbone, entry, seed in runs.itertuples(index=False):
            found.setdefault((dataset, backbone, entry), set()).add(str(seed))
        return found

    def reasons(self, dataset: str, backbone: str, entry: str) -> list[str]:
        """Why seeds of an entry have no values: one line for each reason, with its seeds; empty where all have some.

        A cell may have failed for another entry alone (a calibrator cannot be fitted); this one has values then.
        """
        seeds: dict[str, list[str]] = {}
        found = self._seeds_found.get((dataset, backbone, entry), set())
        for cell in self.cells(dataset, backbone, entry):
            if cell.get("status") != "done" and str(cell.get("seed")) not in found:
                reason = ": ".join(str(part) for part in (cell.get("status"), cell.get("reason")) if part)
                seeds.setdefault(reason, []).append(str(cell.get("seed")))
        return [f"{reason} ({'seed' if len(s) == 1 else 'seeds'} {', '.join(s)})" for reason, s in seeds.items()]


def _registered(name: str) -> dict[str, Any]:
    """What the metric registry says of a metric that the run does not describe; its name alone where nothing does."""
    if name in registry:
        described = registry[name].describe()
        return {key: described[key] for key in ("name", "label", "unit", "better", "decimals")}
    return {"name": name, "label": name}


def main_checkpoint(results: Results) -> str | None:
    """The checkpoint rule whose values the tables show: the protocol's, else the first one of the table."""
    named = (results.run.get("protocol") or {}).get("checkpoint")
    named = named[0] if isinstance(named, list) and named else named
    found = list(results.table["checkpoint"].dropna().unique()) if "checkpoint" in results.table else []
    return named if named in found or not found else str(found[0])


def _unique(names: Iterable[Hashable]) -> list:
    return list(dict.fromkeys(names))


def _keys(frame: pd.DataFrame) -> Iterator[Key]:
    return zip(*(frame[name].tolist() for name in _KEY), strict=True)


def _known(column: pd.Series) -> list[float | None]:
    """Numbers as pandas may have kept them, text included; None where there is none or it is not finite."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float, na_value=np.nan)
    return [v if ok else None for v, ok in zip(values.tolist(), np.isfinite(values).tolist(), strict=True)]


def _flag(value: Any) -> bool | None:
    """A boolean as pandas may have kept it: a bool, 0 and 1, or a word of a CSV file."""
    if value is None or (not isinstance(value, str) and pd.isna(value)):
        return None
    return value.strip().lower() == "true" if isinstance(value, str) else bool(value)
