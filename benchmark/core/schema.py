"""Columns of the tidy tables, their types and meanings: shared by the code that makes, compares and shows results."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from calbench.benchmark.core.errors import InputError

AFFECTS_RESULTS = False
Kind = Literal["text", "number", "count", "flag"]


@dataclass(frozen=True)
class Column:
    """One column of a tidy table.

    Attributes:
        name: in the CSV.
        kind: ``text`` (empty where unknown), ``number`` (NaN where unknown), ``count`` (a whole number) or ``flag``
            (True, False or None).
        meaning: one sentence.
        required: whether a table without it is refused; others are filled with the empty value of their kind, so that
            results written by an earlier version can be read.
    """

    name: str
    kind: Kind
    meaning: str
    required: bool = True

    @property
    def default(self) -> object:
        """The value where nothing is known."""
        return {"text": "", "number": float("nan"), "count": 0, "flag": None}[self.kind]


RESULT_SCHEMA = (
    Column("dataset", "text", "Name of the dataset, with its options."),
    Column("backbone", "text", "Name of the backbone, with its options."),
    Column("entry", "text", "Name of the entry: a recipe and at most a chain of calibrators."),
    Column("recipe", "text", "The entry's training-time part."),
    Column("calibrator", "text", "The entry's chain of calibrators, or none."),
    Column("seed", "count", "Seed of the training run."),
    Column("checkpoint", "text", "Checkpoint rule."),
    Column("split", "text", "Evaluated split."),
    Column("metric", "text", "Name of the metric."),
    Column("value", "number", "The metric's value, by its published definition, in the metric's unit."),
    Column("low", "number", "Lower end of the 95 % interval of the population value, over test samples."),
    Column("high", "number", "Upper end of that interval."),
    Column(
        "debiased", "number",
        "For a calibration error: its estimate without the upward bias of label noise, which has mean 0 for a "
        "perfectly calibrated model and so can be below 0; tables show max(debiased, 0). NaN for other metrics.",
        required=False,
    ),
    Column(
        "low_signed", "number",
        "For a calibration error: `low` continued below 0; intervals of differences are made from it.", required=False,
    ),
    Column("samples", "number", "Number of samples of the split.", required=False),
    Column("reason", "text", "Why there is no interval.", required=False),
)  # fmt: skip

COMPARISON_SCHEMA = (
    Column("dataset", "text", "Name of the dataset, with its options."),
    Column("backbone", "text", "Name of the backbone, with its options."),
    Column("entry", "text", "Name of the entry."),
    Column("split", "text", "Evaluated split."),
    Column("checkpoint", "text", "Checkpoint rule."),
    Column("metric", "text", "Name of the metric."),
    Column("seeds", "count", "Number of seeds with a value."),
    Column("expected_seeds", "count", "Number of seeds planned."),
    Column("value", "number", "Mean over seeds of the metric by its published definition."),
    Column("low", "number", "Lower end of the 95 % interval of the mean population value (0 included for errors)."),
    Column("high", "number", "Upper end of that interval."),
    Column("baseline", "text", "The entry that changes and reductions refer to."),
    Column(
        "change", "number",
        "Entry minus baseline, paired over the seeds that both have; of the debiased values for a calibration error.",
    ),
    Column("change_low", "number", "Lower end of the 95 % interval of the change, not adjusted for multiplicity."),
    Column("change_high", "number", "Upper end of that interval."),
    Column(
        "reduction", "number",
        "100 (baseline - entry) / baseline, of the debiased values (not below 0) for a calibration error; NaN where "
        "the baseline is within noise of 0.",
    ),
    Column("reduction_low", "number", "Lower end of the 95 % interval of the reduction."),
    Column("reduction_high", "number", "Upper end of that interval."),
    Column("differs", "flag", "Whether `p_adjusted` is at most 0.05."),
    Column("tied_with_best", "flag", "Whether the entry is the best, or `p_best` is above 0.05."),
    Column(
        "calibrated", "flag",
        "For ECE: whether one test at 5 % over all seeds does not reject perfect calibration; see `detectable`.",
    ),
    Column("debiased", "number", "Mean over seeds of the debiased calibration error; may be below 0.", required=False),
    Column(
        "noise_floor", "number", "For ECE: its mean under perfect calibration, averaged over seeds.", required=False
    ),
    Column(
        "noise_floor_95", "number",
        "For ECE: the 95th percentile of its mean over the seeds under perfect calibration.", required=False,
    ),
    Column(
        "detectable", "number",
        "For ECE: the smallest calibration error that the test behind `calibrated` finds four times in five.",
        required=False,
    ),
    Column("p", "number", "Two-sided p value of the change.", required=False),
    Column(
        "p_adjusted", "number",
        "`p` by Hommel's method over the entries of the same dataset, backbone, split, checkpoint and metric.",
        required=False,
    ),
    Column(
        "p_best", "number",
        "The p value of the hypothesis that no other entry of the same dataset, backbone, split, checkpoint and metric "
        "is better: of its one-sided p values against each of them, by their harmonic mean.", required=False,
    ),
    Column(
        "spread_over", "text",
        "What intervals and p values allow for: `samples` (one run: nothing is known of the spread over seeds) or "
        "`samples and seeds`; empty without intervals.", required=False,
    ),
    Column("interval_reason", "text", "Why `low` and `high` cannot be given.", required=False),
    Column("change_reason", "text", "Why the interval and p value of the change cannot be given.", required=False),
    Column("reduction_reason", "text", "Why the reduction, or its interval, cannot be given.", required=False),
)  # fmt: skip

PAIR_SCHEMA = (
    Column("dataset", "text", "Name of the dataset, with its options."),
    Column("backbone", "text", "Name of the backbone, with its options."),
    Column("first", "text", "Name of one entry."),
    Column("second", "text", "Name of the entry that is subtracted from it."),
    Column("split", "text", "Evaluated split."),
    Column("checkpoint", "text", "Checkpoint rule."),
    Column("metric", "text", "Name of the metric."),
    Column("seeds", "count", "Number of seeds with a value of both entries."),
    Column(
        "change", "number",
        "First minus second, paired over the seeds that both have; of the debiased values for a calibration error.",
    ),
    Column("change_low", "number", "Lower end of the 95 % interval of the change, not adjusted for multiplicity."),
    Column("change_high", "number", "Upper end of that interval."),
    Column("p", "number", "Two-sided p value of the change."),
    Column(
        "p_adjusted", "number",
        "`p` by Holm's method over the pairs of the same dataset, backbone, split, checkpoint and metric.",
    ),
    Column("change_reason", "text", "Why the change, or its interval, cannot be given.", required=False),
)  # fmt: skip

RESULT_COLUMNS = [column.name for column in RESULT_SCHEMA]
"""Columns of results.csv: one value a row, with its interval; meanings in `RESULT_SCHEMA`."""

COMPARISON_COLUMNS = [column.name for column in COMPARISON_SCHEMA]
"""Columns of comparisons.csv: one row per dataset, backbone, entry, split, checkpoint and metric, over the seeds;
meanings in `COMPARISON_SCHEMA`."""

PAIR_COLUMNS = [column.name for column in PAIR_SCHEMA]
"""Columns of pairs.csv: one row per dataset, backbone, pair, split, checkpoint and metric; see `PAIR_SCHEMA`."""

KEY_COLUMNS = ["dataset", "backbone", "entry", "recipe", "calibrator", "seed", "checkpoint", "split", "metric"]
"""The columns of results.csv that identify a row."""


def conform(table: pd.DataFrame, schema: Sequence[Column], where: str = "table") -> pd.DataFrame:
    """`table` with exactly the columns of `schema`, in its order: optional ones filled, flags made bools.

    Args:
        table: as made, or as read from a CSV.
        schema: `RESULT_SCHEMA`, `COMPARISON_SCHEMA` or `PAIR_SCHEMA`.
        where: what to call the table in an error.

    Raises:
        InputError: a required column is missing.

    Example:
        >>> old = pd.DataFrame({"a": [1]})
        >>> list(conform(old, [Column("a", "count", "one"), Column("b", "number", "two", required=False)]))
        ['a', 'b']
    """
    columns: dict[str, pd.Series] = {}
    for column in schema:
        if column.name in table:
            values = table[column.name]
        elif column.required:
            raise InputError(f"{where}: the column {column.name!r} is missing")
        else:
            values = pd.Series([column.default] * len(table), index=table.index, dtype=object)
        columns[column.name] = _typed(values, column)
    return pd.DataFrame(columns, index=table.index)


def _typed(values: pd.Series, column: Column) -> pd.Series:
    if column.kind == "text" and not column.required:
        return values.astype(object).where(values.notna(), "")
    if column.kind == "number" and column.name != "value":  # readers check values, line by line
        return pd.to_numeric(values, errors="coerce").astype(float)
    if column.kind == "count":  # whole numbers stay whole where none is missing
        numbers = pd.to_numeric(values, errors="coerce")
        return numbers.astype(int) if numbers.notna().all() else numbers.astype(float)
    if column.kind == "flag":
        return pd.Series([as_flag(value) for value in values.tolist()], index=values.index, dtype=object)
    return values


FLAG_WORDS = {
    "true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False, "nan": None, "none": None, "": None,
}  # fmt: skip
"""The words of a flag in a CSV file, in lower case, and their meaning."""


def as_flag(value: object) -> bool | None:
    """A flag as pandas may have kept it: a bool, 0 or 1, or one of `FLAG_WORDS`; None if it is empty or another word.

    Example:
        >>> as_flag("True"), as_flag("0"), as_flag("nan")
        (True, False, None)
    """
    if isinstance(value, str):
        return FLAG_WORDS.get(value.strip().lower())
    if value is None or (isinstance(value, float) and np.isnan(value)) or value is pd.NA:
        return None
    return bool(value)


Address = tuple[str, str, str, int, str, str]
"""Dataset, backbone, entry, seed, checkpoint, split: what bootstrap replicates belong to."""

ORACLE = "oracle"
"""The entry of the true posterior: a reference that is never ranked."""

NOISE_FLOOR, NOISE_FLOOR_95 = "noise-floor", "noise-floor-95"
"""The metrics of every evaluation that give the ECE of a perfectly calibrated classifier: mean, 95th percentile."""

FEWEST_SAMPLES = 6
"""Test samples below which nothing is tested: all n differences have one sign by chance in 2 ** (1 - n) of cases."""
FEWEST_WRONG = 5
"""Wrong predictions below which means over samples, such as the NLL, are not compared: the two errors of 100 samples at
an accuracy of 98 % are not typical ones, and of such sets equally good models differ beyond noise in 31 to 47 %."""
FEWEST_REPLICATES = 20
"""Of a bootstrap: with fewer, the ends of a 95 % interval would be the extremes of the replicates."""
