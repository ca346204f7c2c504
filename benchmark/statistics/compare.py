"""Paired comparison of the entries of one dataset and backbone, over seeds and test samples."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from calbench.benchmark.core.schema import (
    COMPARISON_SCHEMA,
    NOISE_FLOOR,
    NOISE_FLOOR_95,
    RESULT_SCHEMA,
    Address,
    conform,
)
from calbench.benchmark.statistics.block import Block
from calbench.benchmark.statistics.moderated import table_priors
from calbench.benchmark.statistics.seed_value import seed_values, with_wrong_predictions

Replicates = Mapping[Address, Mapping[str, np.ndarray]]

GROUP = ["dataset", "backbone", "split", "checkpoint"]
"""The columns of what is compared: everything else of a row is entry, seed, metric and numbers."""


def compare(
    results: pd.DataFrame,
    replicates: Replicates,
    baseline: str,
    *,
    expected_seeds: int,
) -> pd.DataFrame:
    """Compare every entry with the baseline and with the best entry of its dataset and backbone.

    A value is the mean over the seeds that are there; a change is paired, over the seeds that both entries have. A
    calibration error is compared by its debiased value, so that a calibrated model does not lose by being sharp (its
    plug-in ECE is larger only because its noise floor is). Intervals and p values allow for the test samples and, from
    two seeds on, for the spread over seeds by Student's t (see `statistics.contrast`), of changes with a variance that
    borrows from the other datasets and backbones of the table (see `statistics.moderated`). p values against the
    baseline are adjusted by Hommel's method over the entries of a dataset, backbone, split, checkpoint and metric.
    Which entries may be the best is a test of its own (see `statistics.best`).

    Args:
        results: tidy results with `RESULT_COLUMNS`; backbone, seed, checkpoint and split may be empty.
        replicates: bootstrap values (R,) by address and metric, paired within a dataset, split and checkpoint; without
            them, as for results read from a paper, nothing is tested.
        baseline: the entry that changes and reductions refer to.
        expected_seeds: how many seeds an entry should have.

    Returns:
        One row per dataset, backbone, entry, split, checkpoint and metric, with `COMPARISON_COLUMNS`. ``differs`` and
        ``tied_with_best`` are True, False or None, where nothing is tested, or the metric is not registered and so has
        no best; ``calibrated`` is None for every metric but ``ece``. What is missing has its reason.

    Raises:
        ValueError: columns are missing, a value is listed twice, or replicates of one group differ in number.
    """
    table = checked_results(results)
    rows: list[dict[str, Any]] = []
    known = table_priors(table, {entry: (entry, baseline) for entry in table["entry"].unique() if entry != baseline})
    for key, group in table.groupby(GROUP, sort=False):
        where = {name: str(part) for name, part in zip(GROUP, key, strict=True)}
        loaded = group_replicates(replicates, where, group)
        floors = _floors(group)
        for metric, part in group.groupby("metric", sort=False):
            values = seed_values(part, loaded, str(metric))
            priors = known.get((where["split"], where["checkpoint"], str(metric)), {})
            block = Block(str(metric), values, baseline, floors if metric == "ece" else {}, priors)
            rows += [
                where | row | {"metric": metric, "baseline": baseline, "expected_seeds": expected_seeds}
                for row in block.rows()
            ]
    columns = [column.name for column in COMPARISON_SCHEMA]
    return conform(pd.DataFrame(rows, columns=columns), COMPARISON_SCHEMA, "comparisons")


def checked_results(results: pd.DataFrame) -> pd.DataFrame:
    """The table with its columns typed, no value listed twice, and the number of wrong predictions in every row."""
    optional = {"low": np.nan, "high": np.nan}
    table = conform(results.assign(**{k: v for k, v in optional.items() if k not in results}), RESULT_SCHEMA, "results")
    table["value"] = pd.to_numeric(table["value"], errors="coerce").astype(float)
    table["seed"] = pd.to_numeric(table["seed"], errors="coerce").fillna(0).astype(int)
    labels = [*GROUP, "entry", "metric"]
    table[labels] = table[labels].fillna("").astype(str)
    repeated = table.duplicated([*labels, "seed"])
    if repeated.any():
        raise ValueError(f"results: listed twice: {dict(table.loc[repeated, [*labels, 'seed']].iloc[0])}")
    return with_wrong_predictions(table)


def group_replicates(
    replicates: Replicates, where: Mapping[str, str], group: pd.DataFrame
) -> dict[tuple[str, int], Mapping[str, np.ndarray]]:
    """The replicates of a group by entry and seed, and then by metric; those that are there."""
    loaded = {}
    for entry, seed in group[["entry", "seed"]].drop_duplicates().itertuples(index=False):
        address = (where["dataset"], where["backbone"], entry, seed, where["checkpoint"], where["split"])
        try:  # one look-up: `in` would read a replicate that is kept on disk once more
            loaded[entry, seed] = replicates[address]
        except KeyError:
            continue
    return loaded


def _floors(group: pd.DataFrame) -> dict[tuple[str, int], tuple[float, float]]:
    """Mean and 95th percentile of the ECE under perfect calibration, by entry and seed."""
    floors: dict[str, dict[tuple[str, int], float]] = {NOISE_FLOOR: {}, NOISE_FLOOR_95: {}}
    part = group[group["metric"].isin(floors)]
    for entry, seed, metric, value in part[["entry", "seed", "metric", "value"]].itertuples(index=False):
        floors[metric][entry, seed] = value
    means, highs = floors[NOISE_FLOOR], floors[NOISE_FLOOR_95]
    return {key: (means.get(key, float("nan")), high) for key, high in highs.items()}
