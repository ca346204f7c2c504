"""Paired comparison of chosen pairs of entries, over seeds and test samples."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from calbench.benchmark.core.schema import PAIR_SCHEMA, conform
from calbench.benchmark.statistics.block import NAN, Block
from calbench.benchmark.statistics.compare import GROUP, Replicates, checked_results, group_replicates
from calbench.benchmark.statistics.contrast import holm
from calbench.benchmark.statistics.moderated import Priors, table_priors
from calbench.benchmark.statistics.seed_value import seed_values

NO_SEED = "no seed has a value of both entries"


def compare_pairs(results: pd.DataFrame, replicates: Replicates, pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """The change of every metric from the second to the first entry of each pair, with intervals and p values.

    The statistics are those of `compare`, with the second entry in place of the baseline; p values are adjusted by
    Holm's method over the pairs of a dataset, backbone, split, checkpoint and metric.

    Args:
        results: tidy results with `RESULT_COLUMNS`; backbone, seed, checkpoint and split may be empty.
        replicates: bootstrap values (R,) by address and metric, paired within a dataset, split and checkpoint.
        pairs: names of entries.

    Returns:
        One row per dataset, backbone, pair, split, checkpoint and metric, with `PAIR_COLUMNS`. A pair of which no seed
        has both entries has a row with the reason.

    Raises:
        ValueError: columns are missing, a value is listed twice, or replicates of one group differ in number.
    """
    rows: list[dict[str, Any]] = []
    wanted = {entry for pair in pairs for entry in pair}
    table = checked_results(results)
    known = table_priors(table, {_name(pair): pair for pair in pairs})
    for key, group in table[table["entry"].isin(wanted)].groupby(GROUP, sort=False):
        where = {name: str(part) for name, part in zip(GROUP, key, strict=True)}
        loaded = group_replicates(replicates, where, group)
        for metric, part in group.groupby("metric", sort=False):
            values = seed_values(part, loaded, str(metric))
            priors = known.get((where["split"], where["checkpoint"], str(metric)), {})
            changes = [_change(str(metric), values, priors, *pair) for pair in pairs]
            adjusted = holm(np.array([change["p"] for change in changes], dtype=float)).tolist()
            rows += [
                where | {"metric": metric} | change | {"p_adjusted": p}
                for change, p in zip(changes, adjusted, strict=True)
            ]
    return conform(pd.DataFrame(rows, columns=[column.name for column in PAIR_SCHEMA]), PAIR_SCHEMA, "pairs")


def _name(pair: tuple[str, str]) -> str:
    return " - ".join(pair)


def _change(
    metric: str, values: dict[str, dict[int, Any]], priors: Priors, first: str, second: str
) -> dict[str, Any]:  # fmt: skip
    names = {"first": first, "second": second}
    shared = values.get(first, {}).keys() & values.get(second, {}).keys()
    if not shared:
        missing = dict.fromkeys(("change", "change_low", "change_high", "p"), NAN)
        return names | missing | {"seeds": 0, "change_reason": NO_SEED}
    own = {(first, seeds): prior for (name, seeds), prior in priors.items() if name == _name((first, second))}
    row = Block(metric, {first: values[first], second: values[second]}, second, {}, own).change(first)
    return names | {"seeds": len(shared)} | {name: row[name] for name in _SHARED}


_SHARED = ("change", "change_low", "change_high", "p", "change_reason")
