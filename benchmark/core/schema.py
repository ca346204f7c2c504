"""The words of the tidy tables, which whoever makes, compares and shows them shares: columns, addresses, entries."""

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

Address = tuple[str, str, str, int, str, str]
"""Dataset, backbone, entry, seed, checkpoint, split: what bootstrap replicates belong to."""

ORACLE = "oracle"
"""The entry of the true posterior: a reference that is never ranked."""

NOISE_FLOOR, NOISE_FLOOR_95 = "noise-floor", "noise-floor-95"
"""The metrics of every evaluation that say what ECE a perfectly calibrated classifier shows: mean, 95th percentile."""
