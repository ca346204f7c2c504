"""Reads the evaluations of a plan from the store: rows, diagrams, curves, and the reasons of what is missing."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from calbench.benchmark.config.entry import Entry
from calbench.benchmark.config.suite import Suite
from calbench.benchmark.core.schema import ORACLE, RESULT_COLUMNS, Address
from calbench.benchmark.evaluation.entries import Evaluation, evaluation_names
from calbench.benchmark.evaluation.tuning import stored_names
from calbench.benchmark.execution.choice import Trial, Trials
from calbench.benchmark.execution.evaluate import oracle_name
from calbench.benchmark.execution.extra_splits import extra_names
from calbench.benchmark.execution.plan import Work
from calbench.benchmark.store.memory import MemoryStore
from calbench.benchmark.store.names import DamagedError, UnreadableError
from calbench.benchmark.store.store import Store

TO_EVALUATE = "to evaluate"
"""The status of a cell of which an evaluation was damaged: it is removed and can be made again."""


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


class Collector:
    """What a plan's cells have in the store.

    Args:
        suite: the suite of the plan.
        store: where the cells are.

    Attributes:
        columns: the columns of results.csv, as lists.
        diagrams: records of `DiagramRecord`.
        curves: records of `CurveRecord`.
        cells: records of `CellRecord`, one per added cell.
        replicates: bootstrap replicates by address, read when asked for.
    """

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
        """Add a cell of the plan: its record, and the rows of its entries."""
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
        reasons: list[str] = []
        for entry in (one for one in work.entries if one.trial_of):
            try:
                reason = self._trial(work, entry)
            except DamagedError as error:
                found["status"], reason = TO_EVALUATE, str(error)
            if reason:
                reasons.append(f"{entry.name}: {reason}")
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
        """Take note of a trial; returns the reason where it has no score yet.

        Raises:
            DamagedError: what is stored of it was damaged, and has been removed.
        """
        protocol, key = self.suite.protocol, work.cell.key
        record: dict[str, Any] = {}
        for name in stored_names(entry, protocol):  # the evaluation, then the score
            try:
                stored = self.store.evaluation(key, name)
            except DamagedError:
                self.store.forget_evaluation(key, name)
                raise
            if stored is None:
                failure = self.store.evaluation_failure(key, name)
                return "not evaluated yet" if failure is None else failure.get("reason", "unknown")
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
