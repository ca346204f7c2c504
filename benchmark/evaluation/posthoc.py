"""Post-hoc maps compared on given predictions: the same results, and so the same tables, as a suite gives."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd

from calbench.benchmark import statistics
from calbench.benchmark.config.entry import make_component, split_outside_brackets
from calbench.benchmark.config.protocol import Protocol, reduction_line
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import option_defaults, option_fields
from calbench.benchmark.core.schema import COMPARISON_COLUMNS, RESULT_COLUMNS
from calbench.benchmark.evaluation.entries import evaluate_entry
from calbench.benchmark.predictions.predictions import Predictions
from calbench.benchmark.results.record import declaration, entry_record, run_record
from calbench.benchmark.results.results import Results
from calbench.methods import Calibrator, registry

BASELINE = "uncalibrated"
BACKBONE = "given predictions"
"""What stands where a suite names the backbone."""
Chain = tuple[Calibrator, ...]
Progress = Callable[[str], None]


def parse_chain(text: str) -> Chain:
    """Calibrators from ``name(option=value) + name``.

    Raises:
        InputError: an unknown name or option, or a method that is not post-hoc.
    """
    chain = []
    for term in split_outside_brackets(text, "+"):
        calibrator = make_component(term, registry.create)
        if not isinstance(calibrator, Calibrator):
            raise InputError(f"{calibrator.spec.name} is no post-hoc map: it acts in training ({calibrator.kind})")
        chain.append(calibrator)
    return tuple(chain)


def every_chain() -> list[Chain]:
    """Every registered calibrator that works with its default options, alone."""
    methods = ((name, registry[name]) for name in registry if issubclass(registry[name], Calibrator))
    return [(registry.create(name),) for name, cls in methods if len(option_defaults(cls)) == len(option_fields(cls))]


def chain_name(chain: Chain) -> str:
    """The entry that a chain is in the tables."""
    return " + ".join(calibrator.spelled() for calibrator in chain)


def compare_calibrators(
    predictions: Predictions, chains: Iterable[Chain], *, protocol: Protocol, name: str, how: str, command: str = "",
    progress: Progress = lambda line: None,
) -> Results:  # fmt: skip
    """Fit every chain on the calibration split, evaluate it on the test split and compare it with doing nothing.

    Args:
        predictions: one checkpoint's calibration and test splits.
        chains: calibrators to compare; the empty chain, ``uncalibrated``, is always there.
        protocol: metrics, bins, bootstrap replicates.
        name: what the predictions are called in the tables.
        how: one line on where the two splits come from, printed above the tables.
        command: the command line, for the record.
        progress: gets a line before each fit.

    Returns:
        Results as a suite gives them; a chain that cannot be fitted stands in the notes with its reason.
    """
    start = time.perf_counter()
    where = {"dataset": name, "backbone": BACKBONE}
    rows, diagrams, replicates, entries, notes = [], [], {}, [], []
    named = {chain_name(chain): chain for chain in chains}
    for entry, chain in ({BASELINE: ()} | named).items():
        progress(entry)
        try:
            evaluation = evaluate_entry(predictions, chain, protocol)
        except Exception as error:
            reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            notes.append(f"{entry}: left out: {reason}")
            continue
        labels = where | {"entry": entry, "recipe": BASELINE, "calibrator": entry if chain else "none", "seed": 0}
        rows += [labels | row for row in evaluation.rows]
        diagrams += [where | {"entry": entry, "seed": 0} | diagram for diagram in evaluation.diagrams]
        notes += [f"{entry}: {warning}" for warning in evaluation.warnings]
        entries.append(_entry_record(entry, chain))
        for (checkpoint, split), values in evaluation.replicates.items():
            replicates[name, BACKBONE, entry, 0, checkpoint, split] = values
    table = pd.DataFrame(rows, columns=RESULT_COLUMNS)
    comparisons = pd.DataFrame(columns=COMPARISON_COLUMNS)
    if len(table):
        comparisons = statistics.compare(table, replicates, BASELINE, expected_seeds=1)
    cell = {"key": name, **where, "recipe": BASELINE, "seed": 0, "status": "done", "reason": None}
    declared = _declaration(name, protocol, how, entries)
    run = run_record(declared, [cell], notes, command, time.perf_counter() - start)
    return Results(table, comparisons, run, diagrams, [])


def _entry_record(entry: str, chain: Chain) -> dict[str, Any]:
    return entry_record(entry, None if chain else "Uncalibrated", BASELINE, entry if chain else "none", chain)


def _declaration(name: str, protocol: Protocol, how: str, entries: list[dict[str, Any]]) -> dict[str, Any]:
    intervals = f"{protocol.bins} bins; {protocol.intervals_over('test samples')}."
    return declaration(
        suite=name,
        title=f"Post-hoc calibration of {name}",
        description="",
        config={},
        protocol=protocol,
        protocol_text=[how, intervals, reduction_line(BASELINE)],
        baseline=BASELINE,
        entries=entries,
        seeds=[0],
        shown=protocol.metrics,
    )
