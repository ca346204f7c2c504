"""Collects a suite's results from the store: tidy table, comparisons, diagrams, curves, and the record of the run."""

import pandas as pd

from calbench.benchmark import metrics, statistics
from calbench.benchmark.config.cell import Cell
from calbench.benchmark.config.entry import Entry, calibration_line
from calbench.benchmark.config.extra_splits import extra_lines
from calbench.benchmark.config.suite import Suite
from calbench.benchmark.core import environment
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.hashing import digest
from calbench.benchmark.core.schema import (
    COMPARISON_COLUMNS,
    PAIR_COLUMNS,
    RESULT_SCHEMA,
    conform,
)
from calbench.benchmark.evaluation.entries import evaluation_names
from calbench.benchmark.execution.collector import Collector
from calbench.benchmark.execution.extra_splits import extra_names
from calbench.benchmark.execution.plan import Work
from calbench.benchmark.results.base_record import parse_all, plain
from calbench.benchmark.results.record import declaration, entry_record, run_record
from calbench.benchmark.results.records import Declaration, EntryRecord
from calbench.benchmark.results.results import Results
from calbench.benchmark.results.series_records import CurveRecord, DiagramRecord
from calbench.benchmark.store.memory import MemoryStore
from calbench.benchmark.store.store import Store

TUNED = (
    "Best of n: the one of n settings of an entry's options with the lowest NLL of the calibration split, chosen in "
    "every cell; calibrators are judged on fifths of that split that they were not fitted on."
)


def inputs_digest(suite: Suite, plan: list[Work]) -> str:
    """A hash of all that results follow from, once every cell of the plan is there: the suite, the plan, the code."""
    said = plain(suite_declaration(suite, plan)) | {
        "code": environment.code_digest(),
        "versions": environment.versions(),
        "evaluations": list(evaluation_names(suite.entries, suite.protocol).values()),
        "keys": [work.cell.key for work in plan],
        "extra": [list(extra_names(work.entries, suite.protocol, work.extra).values()) for work in plan],
    }
    return digest(said)


def standing_results(store: Store, suite: Suite, inputs: str) -> Results | None:
    """The results written from the same `inputs`, where they can be read: then there is nothing to collect."""
    try:
        with store.folder.fetched(suite.name) as folder:
            results = Results.load(folder)
    except InputError:
        return None
    return results if results.run.inputs == inputs and not results.edited else None


def collect(
    suite: Suite, plan: list[Work], store: Store | MemoryStore, inputs: str, command: str, seconds: float
) -> Results:
    """Read what the store holds of a plan; missing and failed cells are listed with their reasons.

    Args:
        suite: the suite.
        plan: its cells.
        store: where they are.
        inputs: what `inputs_digest` gives, for the record.
        command: the command line, for the record.
        seconds: how long the run took, for the record.
    """
    collector = Collector(suite, store)
    for work in plan:
        collector.add(work)
    collector.add_tuned()
    table = conform(pd.DataFrame(collector.columns), RESULT_SCHEMA, "results")
    comparisons, pairs = pd.DataFrame(columns=COMPARISON_COLUMNS), pd.DataFrame(columns=PAIR_COLUMNS)
    if len(table):
        seeds = len(suite.seeds)
        comparisons = statistics.compare(table, collector.replicates, suite.baseline, expected_seeds=seeds)
        pairs = statistics.compare_pairs(table, collector.replicates, suite.pairs)
    run = run_record(suite_declaration(suite, plan), collector.cells, collector.notes(), command, seconds, inputs)
    diagrams = parse_all(DiagramRecord, collector.diagrams, "diagrams")
    curves = parse_all(CurveRecord, collector.curves, "curves")
    return Results(table, comparisons, run, diagrams, curves, pairs=pairs)


def suite_declaration(suite: Suite, plan: list[Work]) -> Declaration:
    """The part of the record that is known before anything is run."""
    return declaration(
        suite=suite.name,
        title=suite.config.title or suite.name,
        description=suite.config.description,
        config=suite.config.model_dump(mode="json"),
        protocol=suite.protocol,
        protocol_text=suite.protocol.lines(
            list(suite.seeds),
            suite.baseline,
            [work.cell.calibration for work in plan],
            trained=any(isinstance(work.cell, Cell) and work.cell.training.epochs for work in plan),
        )
        + calibration_line(suite.entries)
        + extra_lines(suite)
        + ([TUNED] if any(entry.trials for entry in suite.entries) else []),
        baseline=suite.baseline,
        entries=[_entry_record(entry) for entry in suite.entries],
        seeds=list(suite.seeds),
        shown=_shown_metrics(suite),
        smoke="-smoke" in suite.name,
        labels=suite.config.labels,
    )


def _shown_metrics(suite: Suite) -> list[str]:
    shown = list(suite.protocol.metrics)
    if any(dataset.has_posterior for dataset in suite.datasets):
        shown += [name for name in metrics.registry if "posterior" in metrics.registry[name].needs]
    return list(dict.fromkeys(shown))


def _entry_record(entry: Entry) -> EntryRecord:
    record = entry_record(
        entry.name, entry.label, entry.predictor_name, entry.calibrator_name, entry.methods, entry.named_methods
    )
    if not entry.trials:
        return record
    label = record.label if entry.label else f"{record.label} (best of {len(entry.trials)})"
    return record.model_copy(update={"label": label, "trials": tuple(trial.choice for trial in entry.trials)})
