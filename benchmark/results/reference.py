"""Published numbers: read from CSV files, matched with calbench's entries, and summarised by themselves.

Each file of results/reference is a CSV as its source has it, and a YAML file of the same name that says how its columns
and names read here, which cells look wrong in the source, and what else to bear in mind.
"""

import importlib.resources
import itertools
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any, cast

import pandas as pd
import yaml
from pydantic import BaseModel, ConfigDict

from calbench.benchmark.config.entry import parse_entry
from calbench.benchmark.config.references import reference_files
from calbench.benchmark.config.terms import split_outside_brackets
from calbench.benchmark.core.errors import InputError, check_names
from calbench.benchmark.metrics import registry as metric_registry
from calbench.benchmark.metrics.base import cost, relative_reduction
from calbench.benchmark.results.tables import as_numbers, rows_of
from calbench.benchmark.statistics import aggregate

REFERENCE_COLUMNS = ["source", "dataset", "backbone", "entry", "metric", "value", "suspect", "note"]
"""Columns of published numbers, one per row; ``suspect`` where the source looks wrong, ``note`` is the reason."""

SUMMARY_COLUMNS = [
    "dataset", "metric", "then", "cells", "better", "worse", "equal", "baseline_mean", "mean", "ratio_of_means",
    "mean_of_ratios", "median", "smallest", "largest",
]  # fmt: skip
"""Columns of `summary`."""

Where = dict[str, str | list[str]]
ANY_BACKBONE = "any"
"""The backbone of published numbers whose source does not name the network: compared with every one of ours."""


class Values(BaseModel):
    """What a column of values holds: the parts of the entry that follow the row's own, and the metric if not the row's.

    ``where`` keeps the rows that have these values in these columns.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    then: str = ""
    metric: str | None = None
    where: Where = {}


class Suspect(BaseModel):
    """Rows that look wrong in their source, by the values of their columns, and why."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    where: Where
    note: str


class Description(BaseModel):
    """The YAML file next to a CSV of published numbers.

    Attributes:
        title: what they are.
        paper: key of the paper in results/reference/papers.
        source: where they were read.
        dataset: the column that names it; likewise `backbone`.
        metric: the column that names the metric, or the metric itself.
        entry: the columns whose names make the entry, in order.
        values: the columns of values.
        names: calbench's name for every name in each of the columns above.
        method: whose gains `summary` is about.
        split: which of our splits the numbers are compared on.
        aliases: a part of an entry, and the part of ours that it may be compared with if its own was not run.
        cautions: what to bear in mind.
        suspect: rows that look wrong in the source.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    title: str
    paper: str
    source: str
    dataset: str
    backbone: str
    metric: str
    entry: list[str]
    values: dict[str, Values]
    names: dict[str, dict[str, str]]
    method: str
    split: str = "test"
    aliases: dict[str, str] = {}
    cautions: list[str] = []
    suspect: list[Suspect] = []


@cache
def describe(name: str) -> Description:
    """The description of a name of `reference_files`.

    Raises:
        InputError: an unknown name.
        pydantic.ValidationError: the description itself is wrong.
    """
    check_names("reference", [name], reference_files())
    folder = importlib.resources.files("calbench.results").joinpath("reference")
    return Description(**yaml.safe_load(folder.joinpath(f"{name}.yaml").read_text("utf-8")))


def load_reference(name: str | Path) -> pd.DataFrame:
    """Read published numbers: a name of `reference_files`, or a CSV file of one's own with `REFERENCE_COLUMNS`.

    Returns:
        `REFERENCE_COLUMNS`, datasets, backbones and entries spelled as in results; cells without a number are left out.

    Raises:
        InputError: an unknown name, no such file, a column or a name that is missing.
    """
    if Path(name).suffix == ".csv":
        return _own_file(Path(name))
    description = describe(str(name))
    with reference_files()[str(name)].open("r", encoding="utf-8") as text:
        raw = pd.read_csv(text)
    rows = [
        _row(description, record, values, record[column])
        for column, values in description.values.items()
        for record in rows_of(raw)
        if _matches(record, values.where)
    ]
    return pd.DataFrame(rows, columns=REFERENCE_COLUMNS).dropna(subset=["value"]).reset_index(drop=True)


def _own_file(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"reference {path.name}: {error}") from None
    missing = [column for column in REFERENCE_COLUMNS if column not in frame]
    if missing:
        raise InputError(f"reference {path.name}: the column {missing[0]!r} is missing")
    suspect = frame["suspect"].astype(str).str.lower().isin(["true", "1", "1.0", "yes"])
    frame = frame.assign(suspect=suspect, value=as_numbers(frame["value"], f"reference {path.name}"))
    return frame.assign(entry=[entry_name(str(entry)) for entry in frame["entry"]]).dropna(subset=["value"])


def _row(description: Description, record: dict[str, Any], values: Values, value: float) -> dict[str, Any]:
    def ours(column: str) -> str:
        names, name = description.names[column], str(record[column])
        check_names(f"{column} in the description of {description.source}", [name], names)
        return names[name]

    parts = [*(ours(column) for column in description.entry), values.then]
    metric = values.metric or (ours(description.metric) if description.metric in record else description.metric)
    notes = [s.note for s in description.suspect if _matches(record, s.where)]
    return {
        "source": description.source,
        "dataset": ours(description.dataset),
        "backbone": ours(description.backbone),
        "entry": entry_name(" + ".join(part for part in parts if part)),
        "metric": metric,
        "value": value,
        "suspect": bool(notes),
        "note": " ".join(notes),
    }


def _matches(record: dict[str, Any], where: Where) -> bool:
    return all(record[column] in (wanted if isinstance(wanted, list) else [wanted]) for column, wanted in where.items())


@cache
def entry_name(entry: str) -> str:
    """The name under which results list an entry; as it is where calbench lacks one of its methods."""
    try:
        return parse_entry(entry).name
    except InputError:
        return entry


@cache
def entry_parts(entry: str) -> tuple[str, ...]:
    """All parts of an entry, a default objective among them."""
    try:
        return tuple(part.spelled() for part in parse_entry(entry).methods)
    except InputError:
        return tuple(split_outside_brackets(entry, "+"))


def align(reference: pd.DataFrame, name: str | Path, entries: Collection[str]) -> pd.DataFrame:
    """Find the entry of ours that each published number is compared with.

    Args:
        reference: of `load_reference`.
        name: what was loaded; its description's aliases are used.
        entries: the entries that were run.

    Returns:
        The reference with ``entry`` changed to ours where the entry itself was not run but one that its aliases name
        was, and with a column ``published_entry``.
    """
    aliases = {} if Path(name).suffix == ".csv" else describe(str(name)).aliases
    ours = {entry: _counterpart(entry, aliases, entries) for entry in reference["entry"].unique()}
    return reference.assign(published_entry=reference["entry"], entry=reference["entry"].map(ours))


def _counterpart(entry: str, aliases: dict[str, str], entries: Collection[str]) -> str:
    choices = [(part, aliases[part]) if part in aliases else (part,) for part in entry_parts(entry)]
    names = (entry_name(" + ".join(parts)) for parts in itertools.product(*choices))
    return next((name for name in names if name in entries), entry)


def gains(reference: pd.DataFrame, method: str) -> pd.DataFrame:
    """Every published cell with `method`, paired with the same one without it.

    Args:
        reference: of `load_reference`.
        method: a part of entries, such as ``calattn``; with options where they have some, without for any options.

    Returns:
        A row per cell and registered metric: dataset, backbone, metric, ``base`` (the recipe without `method`),
        ``then`` (the calibrators that follow, or none), ``without`` and ``with`` (the two numbers), ``gain`` (their
        difference, positive where `method` is better), ``reduction`` (in per cent), suspect.

    Raises:
        InputError: no entry has `method`, or none has a counterpart.
    """
    keys = ["source", "dataset", "backbone", "metric"]
    known = {(*(row[k] for k in keys), entry_parts(row["entry"])): row for row in rows_of(reference)}
    rows: list[dict[str, Any]] = []
    for (*where, parts), row in known.items():
        places = [i for i, part in enumerate(parts) if method in (part, part.partition("(")[0])]
        if not places or row["metric"] not in metric_registry:
            continue
        other = known.get((*where, parts[: places[0]] + parts[places[0] + 1 :]))
        if other is None:
            continue
        better = metric_registry[row["metric"]].better
        rows.append(
            {k: row[k] for k in keys}
            | {
                "base": " + ".join(parts[: places[0]]),
                "then": " + ".join(parts[places[0] + 1 :]) or "none",
                "without": other["value"],
                "with": row["value"],
                "gain": round(cost(other["value"], better) - cost(row["value"], better), 9),
                "reduction": relative_reduction(float(row["value"]), float(other["value"]), better),
                "suspect": row["suspect"] or other["suspect"],
            }
        )
    if not rows:
        raise InputError(f"the reference has no cell both with and without {method!r}")
    return pd.DataFrame(rows)


def summary(pairs: pd.DataFrame) -> pd.DataFrame:
    """The sum of `gains` over all cells, not only the best ones.

    Returns:
        A row per dataset, metric and calibrators that follow, with `SUMMARY_COLUMNS`: cells where the method is better,
        worse and equal; means; relative reductions as ratio of means, mean of ratios and median, and their range.
    """
    rows: list[dict[str, Any]] = []
    ordered = pairs.sort_values(["dataset", "metric"], kind="stable")
    for key, part in ordered.groupby(["dataset", "metric", "then"], sort=False):
        dataset, metric, then = (str(name) for name in cast("tuple[object, ...]", key))
        where = {"dataset": dataset, "backbone": part["backbone"] + " / " + part["base"], "metric": metric}
        sides = [pd.DataFrame(where | {"entry": side, "value": part[side]}) for side in ("without", "with")]
        whole = aggregate(pd.concat(sides), metric=metric, baseline="without").set_index("entry").loc["with"]
        counts = {"better": (part["gain"] > 0).sum(), "worse": (part["gain"] < 0).sum()}
        rows.append(
            {"dataset": dataset, "metric": metric, "then": then, "cells": len(part), **counts}
            | {"equal": (part["gain"] == 0).sum()}
            | {name: whole[name] for name in ("baseline_mean", "mean", "ratio_of_means", "mean_of_ratios", "median")}
            | {"smallest": part["reduction"].min(), "largest": part["reduction"].max()}
        )
    return pd.DataFrame(rows, columns=SUMMARY_COLUMNS)
