"""A store in memory, for results that are used once and not kept."""

from typing import Any, Literal

from torch import Tensor

from calbench.benchmark.predictions.predictions import Predictions
from calbench.benchmark.store.names import DamagedError

Stored = tuple[dict[str, Any], dict[str, Tensor]]
"""The record and the tensors of an evaluation."""


class MemoryStore:
    """The part of `Store` that evaluation and collection use, for cells whose predictions the caller has in memory."""

    def __init__(self) -> None:
        self._predictions: dict[str, Predictions] = {}
        self._manifests: dict[str, dict[str, Any]] = {}
        self._evaluations: dict[tuple[str, str], Stored] = {}
        self._failures: dict[tuple[str, str], dict[str, Any]] = {}

    def write(self, key: str, predictions: Predictions, manifest: dict[str, Any]) -> None:
        """Keep the predictions of a cell; they are not copied."""
        self._predictions[key], self._manifests[key] = predictions, manifest

    def status(self, key: str) -> Literal["done", "missing"]:
        """Whether the cell is there."""
        return "done" if key in self._predictions else "missing"

    def predictions(self, key: str) -> Predictions:
        """The predictions of a cell.

        Raises:
            DamagedError: there are none.
        """
        if key not in self._predictions:
            raise DamagedError(f"cell {key}: no predictions")
        return self._predictions[key]

    def manifest(self, key: str) -> dict[str, Any]:
        """What was written with the predictions."""
        return self._manifests[key]

    def failure(self, key: str) -> dict[str, Any]:
        """Why a cell failed: none does."""
        return {}

    def write_evaluation(self, key: str, name: str, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Keep an evaluation of a cell."""
        self._evaluations[key, name] = (record, tensors)

    def write_failed_evaluation(self, key: str, name: str, failure: dict[str, Any]) -> None:
        """Keep the reason why an evaluation failed."""
        self._failures[key, name] = failure

    def evaluation(self, key: str, name: str) -> Stored | None:
        """An evaluation, or None."""
        return self._evaluations.get((key, name))

    def evaluation_failure(self, key: str, name: str) -> dict[str, Any] | None:
        """Why an evaluation failed, or None."""
        return self._failures.get((key, name))

    def evaluation_status(self, key: str, name: str) -> Literal["done", "failed", "missing"]:
        """Whether an evaluation is there, failed or is missing."""
        return "done" if (key, name) in self._evaluations else "failed" if (key, name) in self._failures else "missing"

    def forget_evaluation(self, key: str, name: str) -> None:
        """Remove an evaluation."""
        self._evaluations.pop((key, name), None)
