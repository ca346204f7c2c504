"""The results of a suite as files: tidy tables, the run's record, diagrams and curves. Reports read nothing else."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from .errors import InputError

FORMAT = 1

RESULT_COLUMNS = [
    "dataset", "backbone", "entry", "recipe", "calibrator", "seed", "checkpoint", "split", "metric", "value", "low",
    "high",
]  # fmt: skip
"""Columns of results.csv: one value a row, with its bootstrap interval where it has one."""

COMPARISON_COLUMNS = [
    "dataset", "backbone", "entry", "split", "checkpoint", "metric", "seeds", "expected_seeds", "value", "low", "high",
    "baseline", "change", "change_low", "change_high", "reduction", "reduction_low", "reduction_high", "differs",
    "tied_with_best", "calibrated",
]  # fmt: skip
"""Columns of comparisons.csv: one row per dataset, backbone, entry, split, checkpoint and metric, over the seeds.

``value`` is the mean over seeds with its hierarchical bootstrap interval; ``change`` is entry minus baseline and
``reduction`` 100 (baseline - entry) / baseline, both paired; ``differs`` says whether the interval of the change
excludes zero; ``tied_with_best`` whether the entry is the best or not significantly worse than it; ``calibrated``
(ECE alone) whether the value lies within the noise floor's 95th percentile.
"""


@dataclass
class Results:
    """Everything that a report is made of; a pure value.

    Attributes:
        table: tidy results, with `RESULT_COLUMNS`.
        comparisons: paired comparisons over seeds, with `COMPARISON_COLUMNS`; may be empty.
        run: the record of the run: config, protocol, entries, cells, versions, commit, hardware.
        diagrams: reliability bins and temperature histograms, one dict per dataset, backbone, entry, seed and split.
        curves: metrics over epochs, one dict per cell.
    """

    table: pd.DataFrame
    comparisons: pd.DataFrame
    run: dict[str, Any]
    diagrams: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
