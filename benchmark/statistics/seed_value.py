"""The values of an entry by seed, as comparisons take them from the table of results."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class SeedValue:
    """One metric of one entry and seed; the fields are those of results.csv, NaN or None where unknown.

    `wrong` is the number of wrong predictions among the samples.
    """

    value: float
    low: float
    high: float
    debiased: float
    low_signed: float
    samples: float
    reason: str
    replicates: np.ndarray | None
    wrong: float = float("nan")

    @property
    def compared(self) -> float:
        """The value that comparisons are made of: debiased for a calibration error."""
        return self.debiased if np.isfinite(self.debiased) else self.value


_NUMBERS = ("value", "low", "high", "debiased", "low_signed", "samples", "wrong")


def seed_values(
    part: pd.DataFrame, loaded: Mapping[tuple[str, int], Mapping[str, np.ndarray]], metric: str
) -> dict[str, dict[int, SeedValue]]:
    """The finite values by entry and seed, each with its interval and replicates where they are known."""
    values: dict[str, dict[int, SeedValue]] = {}
    columns = [part[name].tolist() for name in ("entry", "seed", *_NUMBERS, "reason")]
    for entry, seed, value, low, high, debiased, low_signed, samples, wrong, reason in zip(*columns, strict=True):
        if np.isfinite(value):
            drawn = loaded.get((entry, seed), {}).get(metric)
            values.setdefault(entry, {})[seed] = SeedValue(
                value, low, high, debiased, low_signed, samples, reason, drawn, wrong
            )
    sizes = {len(v.replicates) for by_seed in values.values() for v in by_seed.values() if v.replicates is not None}
    if len(sizes) > 1:
        raise ValueError(f"replicates of {metric} differ in number: {sorted(sizes)}")
    return values


def with_wrong_predictions(table: pd.DataFrame) -> pd.DataFrame:
    """The table of results with the column `wrong`: how many of the samples the entry predicts wrongly, or NaN."""
    where = ["dataset", "backbone", "entry", "seed", "checkpoint", "split"]
    accuracy = table.loc[table["metric"] == "accuracy", [*where, "value", "samples"]]
    wrong = (accuracy["samples"] * (1 - accuracy["value"] / 100)).round()
    return table.merge(accuracy[where].assign(wrong=wrong), how="left", on=where)
