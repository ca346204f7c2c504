"""Top-level functions of the package: run a suite, compare calibrators."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.config.suite import load_suite, part_name
from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import Plugin
from calbench.benchmark.execution.options import RunOptions
from calbench.benchmark.execution.posthoc import Chain, compare_calibrators, default_chains, too_large
from calbench.benchmark.execution.runner import run_suite
from calbench.benchmark.metrics.inputs import as_labels, as_logits
from calbench.benchmark.predictions.convert import narrowed
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.benchmark.results.results import Results
from calbench.methods import Calibrator

CHECKPOINT = "last"


def run(
    suite: str | Path,
    *,
    entries: Sequence[str] = (),
    seeds: Sequence[int] = (),
    settings: Sequence[str] = (),
    smoke: bool = False,
    plugins: Sequence[str | Path] = (),
    results_dir: str | Path = RunOptions.results_dir,
    name: str = "",
    **options: Any,
) -> Results:
    """Train what is missing of a suite, evaluate its entries, and write its results.

    Args:
        suite: the name of a suite that comes with calbench, or the path of a YAML file.
        entries: run these entries (and the baseline) instead of the suite's.
        seeds: run these seeds instead of the suite's.
        settings: dotted overrides such as ``"training.epochs=5"``.
        smoke: run the suite's smoke test, in seconds, on generated data.
        plugins: files of declarations to import first.
        results_dir: a folder or fsspec address for the store of cells and the results.
        name: of the results; a part or variation of a suite is called ``SUITE@PART`` by default, so that it does not
            overwrite the results of the whole.
        options: further fields of `RunOptions`, such as ``jobs`` or ``device``.

    Returns:
        The results; cells that failed are listed in their record.

    Raises:
        InputError: an unknown suite, name or option; the message says where.

    Example:
        >>> import calbench as cb
        >>> results = cb.run("quick", smoke=True)  # doctest: +SKIP
        >>> results.leaderboard()  # doctest: +SKIP
    """
    paths = tuple(Path(plugin) for plugin in plugins)
    for path in paths:
        Plugin.load(path)
    loaded = load_suite(str(suite), settings=settings, entries=entries, seeds=seeds, smoke=smoke)
    loaded = loaded.called(name or part_name(loaded.name, entries, seeds, settings))
    return run_suite(loaded, RunOptions(results_dir=str(results_dir), plugins=paths, **options))


def compare(
    calibrators: Mapping[str, Calibrator | Sequence[Calibrator]] | None = None,
    *,
    logits: Any,
    labels: Any,
    calibration_logits: Any = None,
    calibration_labels: Any = None,
    name: str = "predictions",
    bins: int = DEFAULT_BINS,
    bootstrap: int = 1000,
) -> Results:
    """Compare calibrators on one test split: metrics with intervals, and paired changes against no calibration.

    Args:
        calibrators: by their names in the table; each is a calibrator or a chain of them. They must be fitted, unless
            a calibration split is given. None compares every calibrator that comes with calbench.
        logits: of the test split (N, K), NumPy or torch.
        labels: of the test split (N,).
        calibration_logits: (M, K), to fit the calibrators on; given together with `calibration_labels`.
        calibration_labels: (M,).
        name: what the table calls the predictions.
        bins: of the binned metrics.
        bootstrap: replicates of the intervals; 0 for no intervals.

    Raises:
        InputError: calibrators that are not fitted and no calibration split, or half of one.
        ValueError: bad logits or labels; the message says which row.

    Example:
        >>> import calbench as cb, numpy as np
        >>> rng = np.random.default_rng(0)
        >>> z = rng.normal(size=(400, 3))
        >>> y = (z + rng.gumbel(size=z.shape)).argmax(1)
        >>> ts = cb.TemperatureScaling().fit(3 * z[:200], y[:200])
        >>> results = cb.compare({"TS": ts}, logits=3 * z[200:], labels=y[200:], bootstrap=0)
        >>> sorted(results.table["entry"].unique())
        ['TS', 'uncalibrated']
    """
    if (calibration_logits is None) != (calibration_labels is None):
        raise InputError("compare: give calibration_logits and calibration_labels together")
    splits = {(CHECKPOINT, "test"): _part(logits, labels)}
    if calibration_logits is not None:
        splits[CHECKPOINT, "calibration"] = _part(calibration_logits, calibration_labels)
    elif calibrators is None:
        raise InputError("compare: give a calibration split, or fitted calibrators")
    predictions = Predictions(splits)
    chains, left_out = _chains(calibrators, predictions)
    protocol = Protocol(bins=bins, bootstrap=bootstrap)
    notes = [left_out] if left_out else ()
    return compare_calibrators(
        predictions, chains, protocol=protocol, name=name, command="calbench.compare", notes=notes
    )


def _chains(
    calibrators: Mapping[str, Calibrator | Sequence[Calibrator]] | None, predictions: Predictions
) -> tuple[list[Chain] | dict[str, Chain], str]:
    """The chains to compare, and a sentence on those that would take too long and were not asked for."""
    if calibrators is None:
        return too_large(default_chains(predictions), predictions)
    _check_calibrators(calibrators)
    chains = {key: (one,) if isinstance(one, Calibrator) else tuple(one) for key, one in calibrators.items()}
    if (CHECKPOINT, "calibration") not in predictions.splits:
        _check_fitted(chains)
    return chains, ""


def _check_calibrators(calibrators: object) -> None:
    """Refuse a list, and classes in the place of calibrators."""
    if not isinstance(calibrators, Mapping):
        raise TypeError(f"calibrators: expected a dict of names and calibrators, got {type(calibrators).__name__}")
    for name, one in calibrators.items():
        if isinstance(one, type):
            raise TypeError(f"calibrators: {name} is a class; give an instance: {one.__name__}()")


def _check_fitted(chains: Mapping[str, Chain]) -> None:
    for name, chain in chains.items():
        if not all(hasattr(calibrator, "num_classes_") for calibrator in chain):
            raise InputError(
                f"compare: {name} is not fitted; fit it, or give calibration_logits and calibration_labels"
            )


def _part(logits: Any, labels: Any) -> SplitPredictions:
    scores = as_logits(logits)
    if scores.dtype == torch.float64:  # as of a file: differences that float32 would lose stay
        scores = torch.from_numpy(narrowed(scores.numpy(force=True)))
    elif scores.dtype != torch.float32:
        scores = scores.float()
    return SplitPredictions(scores, as_labels(labels, *scores.shape))
