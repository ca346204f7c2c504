"""Collects a suite's results from the store: tidy table, comparisons, diagrams, curves, and the record of the run."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
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
    ORACLE,
    PAIR_COLUMNS,
    RESULT_COLUMNS,
    RESULT_SCHEMA,
    Address,
    conform,
)
from calbench.benchmark.evaluation.entries import Evaluation, evaluation_names
from calbench.benchmark.evaluation.tuning import stored_names
from calbench.benchmark.execution.choice import Trial, Trials
from calbench.benchmark.execution.evaluate import oracle_name
from calbench.benchmark.execution.extra_splits import extra_names
from calbench.benchmark.execution.plan import Work
from calbench.benchmark.results.base_record import parse_all, plain
from calbench.benchmark.results.record import declaration, entry_record, run_record
from calbench.benchmark.results.records import Declaration, EntryRecord
from calbench.benchmark.results.results import Results
from calbench.benchmark.results.series_records import CurveRecord, DiagramRecord
from calbench.benchmark.store.memory import MemoryStore
from calbench.benchmark.store.names import DamagedError, UnreadableError
from calbench.benchmark.store.store import Store

TO_EVALUATE = "to evaluate"
"""The status of a cell of which an evaluation was damaged: it is removed and can be made again."""


TUNED = (
    "Best of n: the one of n settings of an entry's options with the lowest NLL of the calibration split, chosen in "
    "every cell; calibrators are judged on fifths of that split that they were not fitted on."
)


class _Replicates(Mapping[Address, dict[str, np.ndarray]]):
    """Bootstrap replicates read from the store when they are asked for: memory does not grow with the cells."""

    def __init__(self, store: Store | MemoryStore) -> None:
        self.store = store
        self.where: dict[Address, tuple[str, str]] = {}

    def __getitem__(self, address: Address) -> dict[str, np.ndarray]:
        stored = self.store.evaluation(*self.where[address])
        if stored is None:
            raise KeyError(address)
        return Evaluation.from_stored(*stored).replicates[address[4], address[5]]

    def __iter__(self) -> Iterator[Address]:
        return iter(self.where)

    def __len__(self) -> int:
        return len(self.where)


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
    collector = _Collector(suite, store)
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


class _Collector:
    def __init__(self, suite: Suite, store: Store | MemoryStore) -> None:
        self.suite = suite
        self.store = store
        self.names = evaluation_names(suite.entries, suite.protocol)
        self.trials = Trials.of(suite.entries)
        self.columns: dict[str, list[Any]] = {name: [] for name in RESULT_COLUMNS}
        self.diagrams: list[dict[str, Any]] = []
        self.curves: list[dict[str, Any]] = []
        self.cells: list[dict[str, Any]] = []
        self.replicates = _Replicates(store)
        self.warnings: Counter[tuple[str, str]] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()
        self.without_extra: Counter[str] = Counter()

    def add(self, work: Work) -> None:
        cell = work.cell
        where = {"dataset": cell.dataset.spelled(), "backbone": cell.backbone.spelled()}
        record = {"key": cell.key, **where, "recipe": cell.recipe_name, "seed": cell.seed}
        record |= {"status": self.store.status(cell.key), "reason": None}
        if record["status"] == "done":
            record |= self._done(work, where)
        elif record["status"] == "failed":
            record["reason"] = self._failure(cell.key)
        else:
            damaged = record["status"] == "damaged"
            record |= {"status": "missing", "reason": "its manifest is damaged" if damaged else "not computed yet"}
        self.cells.append(record)

    def _failure(self, key: str) -> str:
        try:
            return self.store.failure(key).get("reason", "unknown")
        except UnreadableError as error:
            return str(error)

    def _done(self, work: Work, where: dict[str, str]) -> dict[str, Any]:
        cell = work.cell
        try:
            manifest = self.store.manifest(cell.key)
        except UnreadableError as error:
            return {"status": "failed", "reason": str(error)}
        found: dict[str, Any] = {
            name: manifest.get(name) for name in ("seconds", "parameters", "extra_parameters_percent", "note")
        }
        versions = manifest.get("versions") or {}
        found["version"] = {
            "calbench": versions.get("calbench"),
            "commit": manifest.get("commit"),
            "versions": versions,
        }
        curve = {"epochs": manifest.get("history", []), "checkpoints": manifest.get("checkpoints", {})}
        self.curves.append(where | {"recipe": cell.recipe_name, "seed": cell.seed} | curve)
        plain = [entry for entry in work.entries if not entry.trial_of]
        listed = [(entry.name, self.names[entry.name], entry.calibrator_name) for entry in plain]
        listed += [(ORACLE, oracle_name(self.suite.protocol), "none")] if work.oracle else []
        extra = extra_names(plain, self.suite.protocol, work.extra)
        reasons = [reason for entry in work.entries if entry.trial_of and (reason := self._trial(work, entry))]
        for entry, name, calibrator in listed:
            try:
                reason = self._entry(work, where, name, entry, calibrator)
            except DamagedError as error:
                self.store.forget_evaluation(cell.key, name)
                found["status"], reason = TO_EVALUATE, str(error)
            if reason:
                reasons.append(f"{entry}: {reason}")
                self.failures[entry, reason] += 1
        for entry in plain if extra else ():
            try:
                reason = self._entry(work, where, extra[entry.name], entry.name, entry.calibrator_name)
            except DamagedError as error:
                self.store.forget_evaluation(cell.key, extra[entry.name])
                found["status"], reason = TO_EVALUATE, str(error)
            if reason:
                self.without_extra[reason] += 1
        return ({"status": "failed", "reason": "; ".join(reasons)} if reasons else {}) | found

    def _trial(self, work: Work, entry: Entry) -> str | None:
        """Take note of a trial; returns the reason where it has no score yet."""
        protocol, key = self.suite.protocol, work.cell.key
        record: dict[str, Any] = {}
        for name in stored_names(entry, protocol):  # the evaluation, then the score
            try:
                stored = self.store.evaluation(key, name)
            except DamagedError as error:
                self.store.forget_evaluation(key, name)
                return f"{entry.name}: {error}"
            if stored is None:
                failure = self.store.evaluation_failure(key, name)
                return f"{entry.name}: {'not evaluated yet' if failure is None else failure.get('reason', 'unknown')}"
            record = stored[0]
        score = record["score"]
        self.trials.add(Trial(entry, work, score))
        return None

    def add_tuned(self) -> None:
        """Add the rows of the tuned entries, each from its best trial in every cell."""
        for entry, best, any_trial in self.trials.winners():
            if isinstance(best, str):
                self.failures[entry.name, best] += 1
                continue
            cell = any_trial.work.cell
            where = {"dataset": cell.dataset.spelled(), "backbone": cell.backbone.spelled()}
            extra = extra_names([best.entry], self.suite.protocol, best.work.extra)
            for name in (self.names[best.entry.name], *extra.values()):
                try:
                    self._entry(best.work, where, name, entry.name, entry.calibrator_name, entry.predictor_name)
                except DamagedError as error:
                    self.store.forget_evaluation(best.work.cell.key, name)
                    self.failures[entry.name, str(error)] += 1

    def _entry(
        self, work: Work, where: dict[str, str], name: str, entry: str, calibrator: str, recipe: str | None = None
    ) -> str | None:
        """Add the rows of one entry; returns the reason if it has none."""
        cell = work.cell
        stored = self.store.evaluation(cell.key, name)
        if stored is None:
            failure = self.store.evaluation_failure(cell.key, name)
            return "not evaluated yet" if failure is None else failure.get("reason", "unknown")
        recipe = ORACLE if entry == ORACLE else recipe or cell.recipe_name
        labels = where | {"entry": entry, "recipe": recipe, "calibrator": calibrator, "seed": cell.seed}
        evaluation = Evaluation.from_stored(*stored)
        self.warnings.update((entry, warning) for warning in evaluation.warnings)
        for column, values in self.columns.items():  # their names are shared: a dict a row takes five times the memory
            values += [labels[column] if column in labels else row.get(column) for row in evaluation.rows]
        self.diagrams += [where | {"entry": entry, "seed": cell.seed} | diagram for diagram in evaluation.diagrams]
        for checkpoint, split in evaluation.replicates:
            address = (where["dataset"], where["backbone"], entry, cell.seed, checkpoint, split)
            self.replicates.where[address] = (cell.key, name)
        return None

    def notes(self) -> list[str]:
        """Remarks of heads on backbones and warnings of fits, each once."""
        remarks = {f"{cell['recipe']} on {cell['backbone']}: {cell['note']}" for cell in self.cells if cell.get("note")}
        warned = {_about(entry, text, count, "fits") for (entry, text), count in self.warnings.items()}
        failed = {
            f"{entry}{_times(count, 'cells')}: left out: {text}" for (entry, text), count in self.failures.items()
        }
        lacking = [
            f"Shifted and out-of-distribution splits are missing in {count} evaluation(s): {reason}."
            for reason, count in sorted(self.without_extra.items())
        ]
        return sorted(remarks) + self.trials.notes() + sorted(warned) + sorted(failed) + lacking


def _about(entry: str, text: str, count: int, noun: str) -> str:
    """A warning after the name of its entry, which is not repeated where the warning starts with it."""
    return f"{entry}{_times(count, noun)}: {text.removeprefix(f'{entry}: ')}"


def _times(count: int, noun: str) -> str:
    return f" ({count} {noun})" if count > 1 else ""


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
