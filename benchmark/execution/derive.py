"""Computes cells that are derived from trained ones: variants of a network, and ensembles of cells."""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from calbench.benchmark import metrics
from calbench.benchmark.config.derived_cell import VariantCell
from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.core.errors import CellError, InputError
from calbench.benchmark.evaluation.chains import apply_chain, fit_chain
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.benchmark.store.names import UnreadableError
from calbench.benchmark.store.store import Store
from calbench.benchmark.variants import Variant
from calbench.methods import Calibrator

CURVE = ("accuracy", "nll", "ece")
"""Metrics of the calibration split that the record of a choice lists for every candidate."""

Make = Callable[[VariantCell], Predictions]


def ready(cell: Any, store: Store) -> bool:
    """Whether the cells that `cell` is derived from are done; a trained cell is derived from none.

    Raises:
        CellError: one of them has failed, so that this one never will be.
    """
    statuses = {source: store.status(source.key) for source in getattr(cell, "sources", ())}
    for source, status in statuses.items():
        if status == "failed":
            raise CellError(f"{source.describe()} has failed: {_reason(store, source.key)}")
    return all(status == "done" for status in statuses.values())


def _reason(store: Store, key: str) -> str:
    try:
        return store.failure(key).get("reason", "unknown")
    except UnreadableError as error:
        return str(error)


def variant_predictions(cell: VariantCell, make: Make) -> tuple[Predictions, dict[str, Any]]:
    """The predictions of a variant cell; of several candidates those with the lowest NLL on the calibration split.

    Args:
        cell: with at most one variant that has candidates.
        make: gives the predictions of a variant cell without candidates.

    Returns:
        The predictions, and what the manifest says of the choice.
    """
    place = next((i for i, variant in enumerate(cell.variants) if variant.candidates()), None)
    if place is None:
        return make(cell), {}
    options = cell.variants[place].candidates()
    cells = [replace(cell, variants=_with(cell.variants, place, option)) for option in options]
    predictions = [make(one) for one in cells]
    rules = list(dict.fromkeys(rule for rule, _ in predictions[0].splits))
    splits: dict[tuple[str, str], SplitPredictions] = {}
    curve: list[dict[str, Any]] = []
    best_by_rule: dict[str, str] = {}
    for rule in rules:
        values = [_calibration_metrics(one[rule, "calibration"]) for one in predictions]
        best = min(range(len(options)), key=lambda i, v=values: v[i]["nll"])
        best_by_rule[rule] = options[best].spelled()
        splits |= {key: part for key, part in predictions[best].splits.items() if key[0] == rule}
        curve += [{"rule": rule, **o.options(), **v} for o, v in zip(options, values, strict=True)]
    chosen = ", ".join(dict.fromkeys(best_by_rule.values()))
    return Predictions(splits), {"chosen": best_by_rule, "curve": curve, "note": f"chosen by NLL: {chosen}"}


def _with(variants: tuple[Variant, ...], place: int, option: Variant) -> tuple[Variant, ...]:
    return (*variants[:place], option, *variants[place + 1 :])


def _calibration_metrics(part: SplitPredictions) -> dict[str, float]:
    return metrics.evaluate(**part.scores(), labels=part.labels, metrics=list(CURVE), bins=DEFAULT_BINS)


def pooled_predictions(
    members: list[Predictions], calibrators: tuple[Calibrator, ...], shared_calibration: bool
) -> Predictions:
    """The mean of the members' probabilities, each after its own calibrators.

    Args:
        members: predictions of the same splits.
        calibrators: fitted on the calibration split of each member.
        shared_calibration: whether the members have the same calibration split; if not it cannot be pooled, and the
            first member's is given.

    Returns:
        Pooled predictions: logits are the logarithms of the mean probabilities.

    Raises:
        InputError: the members have different samples in another split.
    """
    fitted: list[dict[tuple[str, str], SplitPredictions]] = []
    for member in members:
        chains = {rule: fit_chain(calibrators, part) for (rule, name), part in _calibration(member)}
        fitted.append({key: apply_chain(chains[key[0]], part) for key, part in member.splits.items()})
    splits = {}
    for key, first in fitted[0].items():
        parts = [member[key] for member in fitted] if shared_calibration or key[1] != "calibration" else [first]
        if not all(torch.equal(part.labels, first.labels) for part in parts):
            raise InputError(f"ensemble: the members have different samples in the split {key[1]}")
        splits[key] = _mean(parts)
    return Predictions(splits)


def _calibration(predictions: Predictions) -> Iterator[tuple[tuple[str, str], SplitPredictions]]:
    return ((key, part) for key, part in predictions.splits.items() if key[1] == "calibration")


def _mean(parts: list[SplitPredictions]) -> SplitPredictions:
    log_p = torch.stack([part.logits.double().log_softmax(1) for part in parts])
    logits = (log_p.logsumexp(0) - math.log(len(parts))).float()
    return SplitPredictions(logits, parts[0].labels, posterior=parts[0].posterior)


@contextlib.contextmanager
def stored_or_made(cell: VariantCell, store: Store) -> Iterator[tuple[Predictions | None, bool]]:
    """The stored predictions of `cell` if it is done, and whether this process may store them if it is not."""
    if store.status(cell.key) == "done":
        yield store.predictions(cell.key), False
        return
    with store.lock(cell.key) as held:
        yield None, held
