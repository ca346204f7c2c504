"""How large a calibration set has to be: metrics of fitted calibrators against the number of calibration samples."""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import torch

from calbench.benchmark import metrics
from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.seeds import seed_for
from calbench.benchmark.evaluation.chains import apply_chain, fit_chain
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.datasets import stratified_split
from calbench.methods import Calibrator

METRICS = ("nll", "debiased-ece", "accuracy")
COLUMNS = ["entry", "size", "metric", "draws", "value", "low", "high", "reason"]
"""Columns of a size curve: the mean over random calibration sets of one size, and their `spread`."""
FEWEST_FOR_QUANTILES = 20
"""Draws below which a range is that of all draws."""
Progress = Callable[[int, int, str], None]


def check_sizes(sizes: Sequence[int], calibration: SplitPredictions) -> None:
    """Raise an `InputError` for a size that is not positive or larger than the calibration split."""
    for size in sizes:
        if not 0 < size <= len(calibration):
            raise InputError(f"size {size}: expected 1 to {len(calibration)}, the size of the calibration split")


def size_curves(
    predictions: Predictions, chains: Mapping[str, tuple[Calibrator, ...]], sizes: Sequence[int], *,
    draws: int = 10, seed: int = 0, bins: int = DEFAULT_BINS, checkpoint: str = "last",
    progress: Progress = lambda done, total, entry: None,
) -> pd.DataFrame:  # fmt: skip
    """Fit calibrators on random parts of the calibration split and evaluate them on the whole test split.

    Every draw takes a random subset, stratified by class, the same for all calibrators. The range over draws shows how
    much the choice of the calibration set matters; the test samples are the same throughout.

    Args:
        predictions: with a calibration and a test split.
        chains: calibrators by entry; an empty chain is the predictions as they are.
        sizes: numbers of calibration samples; each at most the size of the calibration split.
        draws: random subsets per size; the whole split is taken once.
        seed: of the subsets.
        bins: of the binned metrics.
        checkpoint: the checkpoint rule whose predictions are used.
        progress: called before each entry.

    Returns:
        `COLUMNS`, one row per entry, size and metric; where every fit of a size failed the reason is in its row.

    Raises:
        InputError: a size that is not positive or larger than the calibration split.
    """
    calibration, test = predictions[checkpoint, "calibration"], predictions[checkpoint, "test"]
    check_sizes(sizes, calibration)
    subsets = {size: _subsets(calibration, size, draws, seed) for size in dict.fromkeys(sizes)}
    rows: list[dict[str, object]] = []
    for number, (entry, chain) in enumerate(chains.items()):
        progress(number, len(chains), entry)
        for size, parts in subsets.items():
            values, reason = _evaluated(chain, parts[: len(parts) if chain else 1], test, bins)
            rows += [{"entry": entry, "size": size, "reason": reason} | row for row in _summary(values)]
    return pd.DataFrame(rows, columns=COLUMNS)


def without_curve(entries: Iterable[str], sizes: Sequence[int], reason: str) -> pd.DataFrame:
    """Rows of `COLUMNS` for sizes at which nothing can be fitted, each with the reason."""
    rows = [
        {"entry": entry, "size": size, "reason": reason} | row
        for entry in entries
        for size in sizes
        for row in _summary({name: [] for name in METRICS})
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _subsets(part: SplitPredictions, size: int, draws: int, seed: int) -> list[SplitPredictions]:
    if size == len(part):
        return [part]
    return [
        _taken(part, stratified_split(part.labels, size / len(part), seed_for(seed, "calibration-size", size, draw))[1])
        for draw in range(draws)
    ]


def _taken(part: SplitPredictions, indices: torch.Tensor) -> SplitPredictions:
    return SplitPredictions(**{name: value[indices] for name, value in part.tensors().items()})


def _evaluated(
    chain: tuple[Calibrator, ...], parts: list[SplitPredictions], test: SplitPredictions, bins: int
) -> tuple[dict[str, list[float]], str]:
    """The metrics of every fit that succeeds, and the reason of the last that fails."""
    values: dict[str, list[float]] = {name: [] for name in METRICS}
    reason = ""
    for part in parts:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                calibrated = apply_chain(fit_chain(chain, part), test)
        except Exception as error:  # a calibrator may fail in any way on few samples
            reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            continue
        scores = calibrated.scores() if not chain else {"logits": calibrated.logits}
        result = metrics.evaluate(**scores, labels=test.labels, metrics=list(METRICS), bins=bins)
        for name in METRICS:
            values[name].append(result[name])
    return values, reason


def spread(values: Sequence[float]) -> tuple[float, float]:
    """The range of 95 % of the values; of fewer than `FEWEST_FOR_QUANTILES` that of all, which have no such quantiles.

    Example:
        >>> spread([3.0, 1.0, 2.0])
        (1.0, 3.0)
    """
    if len(values) < FEWEST_FOR_QUANTILES:
        return min(values), max(values)
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _summary(values: Mapping[str, list[float]]) -> list[dict[str, object]]:
    """Mean and `spread` of the draws per metric; NaN where there is none."""
    rows = []
    for name, draws in values.items():
        low, high = spread(draws) if draws else (np.nan, np.nan)
        mean = float(np.mean(draws)) if draws else np.nan
        rows.append({"metric": name, "draws": len(draws), "value": mean, "low": float(low), "high": float(high)})
    return rows
