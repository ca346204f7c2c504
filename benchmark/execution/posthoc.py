"""Compares calibrators on predictions in memory, as a suite of one cell with a store in memory."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace

from calbench.benchmark.config.cell import ArrayCell, External
from calbench.benchmark.config.entry import DEFAULT_OBJECTIVE, Entry, default_calibrators, parse_entry
from calbench.benchmark.config.protocol import Protocol
from calbench.benchmark.config.suite import Suite, SuiteConfig
from calbench.benchmark.config.terms import checked_label
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.threads import LARGE_BYTES, threads
from calbench.benchmark.evaluation.chains import Fits
from calbench.benchmark.execution.collect import collect
from calbench.benchmark.execution.evaluate import evaluate_entries
from calbench.benchmark.execution.plan import Work
from calbench.benchmark.predictions.predictions import Predictions
from calbench.benchmark.results.results import Results
from calbench.benchmark.store.memory import MemoryStore
from calbench.methods import Calibrator

BASELINE = "uncalibrated"
"""The entry of the predictions as they are."""
BACKBONE = "external"
"""The backbone of predictions of unknown origin."""
Chain = tuple[Calibrator, ...]
Progress = Callable[[int, int, str], None]
"""Called before each entry is evaluated with the number done, the number of all, and its name."""


def parse_chain(text: str) -> Chain:
    """Calibrators from ``name(option=value) + name``.

    Raises:
        InputError: an unknown name or option, or a method that is not a post-hoc calibrator.
    """
    methods = parse_entry(text).methods
    for method in methods:
        if not isinstance(method, Calibrator) and method.spec.name in text:
            raise InputError(f"{method.spec.name} is not a post-hoc calibrator: it acts in training ({method.kind})")
    return tuple(method for method in methods if isinstance(method, Calibrator))


def default_chains(predictions: Predictions) -> list[Chain]:
    """Every registered calibrator that needs no option, and nothing that the predictions lack.

    Those that take long or much memory with so many classes are among them, and refuse to be fitted: `too_large`.
    """
    part = next(iter(predictions.splits.values()))
    chosen = default_calibrators(features=part.features is not None, num_classes=part.num_classes)
    return [(calibrator,) for calibrator in chosen]


def too_large(chains: Iterable[Chain], predictions: Predictions) -> tuple[list[Chain], str]:
    """The chains that can be fitted with so many classes, and one line on the others: why, and how to fit them.

    Returns:
        The chains; the line is empty if these are all.
    """
    classes = next(iter(predictions.splits.values())).num_classes
    kept: list[Chain] = []
    others: dict[str, list[Calibrator]] = {}
    for chain in chains:
        large = [one for one in chain if classes > getattr(one, "max_classes", classes)]
        kept += [] if large else [chain]
        for one in large:
            most: int = getattr(one, "max_classes", classes)
            reason = f"each {one.growth}, and {classes:,} classes are more than {most:,}"
            others.setdefault(reason, []).append(one)
    if not others:
        return kept, ""
    why = "; ".join(f"{', '.join(one.spec.name for one in group)} ({reason})" for reason, group in others.items())
    first = next(iter(others.values()))[0].spec.name
    return kept, f"left out: {why}. To fit one nevertheless: -m '{first}(max_classes={classes})'"


def chain_name(chain: Chain) -> str:
    """The entry that a chain is in the tables."""
    return " + ".join(calibrator.spelled() for calibrator in chain) or BASELINE


def compare_calibrators(
    predictions: Predictions, chains: list[Chain] | dict[str, Chain], *, protocol: Protocol, name: str,
    calibration: str = "", command: str = "", progress: Progress = lambda done, total, entry: None,
    notes: Sequence[str] = (), fits: Fits | None = None,
) -> Results:  # fmt: skip
    """Fit every chain on the calibration split, evaluate it on the other splits, and compare it with no calibration.

    Args:
        predictions: one checkpoint's calibration and test splits; without a calibration split the chains must be
            fitted already.
        chains: calibrators to compare, by their names in the tables where it is a dict; the predictions as they are,
            ``uncalibrated``, are always compared.
        protocol: metrics, bins, bootstrap replicates.
        name: what the predictions are called in the tables.
        calibration: one sentence on where the calibration split comes from, printed above the tables.
        command: the command line, for the record.
        progress: called before each entry.
        notes: further remarks for the record, printed with the tables.
        fits: keeps the fitted chains for further use, under the name ``last``; None to forget them.

    Returns:
        Results as a suite gives them; the cell's record names the chains that could not be fitted, with the reasons.
    """
    started = time.perf_counter()
    recipe = parse_entry(DEFAULT_OBJECTIVE).recipe
    uncalibrated: dict[str, Chain] = {BASELINE: ()}
    named = _checked(chains) if isinstance(chains, dict) else {chain_name(chain): chain for chain in chains}
    entries = [Entry(recipe, chain, label) for label, chain in (uncalibrated | named).items()]
    cell = ArrayCell(External(name), External(BACKBONE), predictions, recipe, calibration)
    store, work = MemoryStore(), Work(cell, tuple(entries))
    store.write(cell.key, predictions, {})
    with evaluation_threads(predictions):
        evaluate_entries(work, store, protocol, progress, fits)
    suite = _suite(name, entries, protocol)
    results = collect(suite, [work], store, "", command, time.perf_counter() - started)
    record = results.run.model_copy(update={"notes": (*results.run.notes, *notes)})
    return replace(results, run=record)


def evaluation_threads(predictions: Predictions) -> AbstractContextManager[None]:
    """One thread for small predictions, as for the cells of a suite; for large ones as many as there are."""
    tensors = (tensor for part in predictions.splits.values() for tensor in part.tensors().values())
    size = sum(tensor.nbytes for tensor in tensors)
    return threads(1) if size <= LARGE_BYTES else nullcontext()


def _checked(chains: dict[str, Chain]) -> dict[str, Chain]:
    """The chains under the labels that tables can show, none of which is that of the predictions as they are.

    Raises:
        InputError: a label that is no such text, or two that become one.
    """
    named: dict[str, Chain] = {}
    for label, chain in chains.items():
        text = checked_label(label) or chain_name(chain)
        if text in (*named, BASELINE):
            raise InputError(f"calibrators: {text!r} is the name of another row; give each a name of its own")
        named[text] = chain
    return named


def _suite(name: str, entries: Sequence[Entry], protocol: Protocol) -> Suite:
    specs = [{"label": entry.label, "methods": [part.spelled() for part in entry.methods]} for entry in entries]
    config = SuiteConfig(title=f"Post-hoc calibration of {name}", entries=specs, baseline=BASELINE)
    return Suite(name, config, (), (), tuple(entries), BASELINE, (0,), protocol)
