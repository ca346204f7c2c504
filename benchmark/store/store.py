"""The store of predictions: one folder per cell, named by the cell's key, written once.

``cache/<key>/predictions.safetensors`` comes first (and ``weights.safetensors`` with ``keep: weights``) and
``cache/<key>/manifest.json`` last: a cell is done when its manifest is there, which has their checksums. A failure
leaves ``failure.json`` and no manifest.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
from torch import Tensor

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.files import WRITING
from calbench.benchmark.predictions.predictions import Predictions
from calbench.benchmark.store.folder import Folder
from calbench.benchmark.store.sealed import seal, unseal

FORMAT = 1
CELL = ""
"""The remedy that is the removal of a whole cell."""

Status = Literal["done", "failed", "partial", "missing"]
MANIFEST, PREDICTIONS, WEIGHTS, FAILURE, STATE, LOG = (
    "manifest.json",
    "predictions.safetensors",
    "weights.safetensors",
    "failure.json",
    "state.safetensors",
    "log.txt",
)


EVALUATION, SEALED = "evaluation-", ".safetensors"


class UnreadableError(InputError):
    """A stored file that this version cannot read."""


class DamagedError(UnreadableError):
    """A stored file that is truncated or altered: it can be made again."""


class NewerError(UnreadableError):
    """A stored file of a newer calbench: it is left alone."""


@dataclass(frozen=True)
class Finding:
    """One thing that `Store.verify` found wrong.

    Attributes:
        key: the cell.
        problem: what is wrong.
        remedy: what `Store.prune` removes: the whole cell, the name of one file in it, or None for nothing.
    """

    key: str
    problem: str
    remedy: str | None = CELL


class Store:
    """Predictions, evaluations, failures and training states of cells in a results folder.

    Args:
        root: the results folder; its ``cache`` sub-folder is the store.
    """

    def __init__(self, root: str | Path) -> None:
        self.folder = Folder(root)

    def _name(self, key: str, file: str) -> str:
        return f"cache/{key}/{file}"

    def cells(self) -> list[str]:
        """All keys in the store, in whatever state."""
        return [name for name in self.folder.names("cache") if not name.startswith(".")]

    def status(self, key: str) -> Status:
        """Whether a cell is done, has failed, has a saved training state, or is missing."""
        for file, status in ((MANIFEST, "done"), (FAILURE, "failed"), (STATE, "partial")):
            if self.folder.exists(self._name(key, file)):
                return status
        return "missing"

    def lock(self, key: str) -> AbstractContextManager[bool]:
        """Context manager that yields whether this process holds the cell."""
        return self.folder.lock(f"cache/.locks/{key}")

    def write(self, key: str, predictions: Predictions, manifest: dict[str, Any], weights: bytes | None = None) -> None:
        """Store a finished cell, and its packed weights if they are to be kept; the manifest is what makes it count."""
        parts = {PREDICTIONS: safetensors.torch.save(predictions.to_tensors())}
        if weights is None:
            self.folder.remove(self._name(key, WEIGHTS))
        else:
            parts[WEIGHTS] = weights
        records = {}
        for file, data in parts.items():
            self.folder.write(self._name(key, file), data)
            records[file.partition(".")[0]] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        self._write_json(key, MANIFEST, {"format": FORMAT, "key": key, **manifest, **records})
        for leftover in (FAILURE, STATE):
            self.folder.remove(self._name(key, leftover))

    def write_failure(self, key: str, failure: dict[str, Any]) -> None:
        """Record why a cell failed; never taken for a result."""
        self._write_json(key, FAILURE, {"format": FORMAT, "key": key, **failure})

    def failure(self, key: str) -> dict[str, Any]:
        """The recorded failure of a cell."""
        return self._read_json(key, FAILURE)

    def manifest(self, key: str) -> dict[str, Any]:
        """The manifest of a finished cell.

        Raises:
            DamagedError: it is truncated or altered.
            NewerError: a newer calbench wrote it.
        """
        manifest = self._read_json(key, MANIFEST)
        found = manifest.get("format")
        if isinstance(found, int) and found > FORMAT:
            told = f"a newer calbench wrote it (format {found}; this version reads {FORMAT}), and it is kept"
            raise NewerError(f"cell {key}: {told}")
        if found != FORMAT:
            raise DamagedError(f"cell {key}: manifest of format {found!r}; this version reads {FORMAT}")
        return manifest

    def predictions(self, key: str) -> Predictions:
        """The predictions of a finished cell, checked against the manifest.

        Raises:
            DamagedError: the file is missing, truncated or altered.
        """
        record = self.manifest(key).get("predictions", {})
        try:
            data = self.folder.read(self._name(key, PREDICTIONS))
        except FileNotFoundError:
            raise DamagedError(f"cell {key}: the predictions are missing") from None
        if len(data) != record.get("bytes") or hashlib.sha256(data).hexdigest() != record.get("sha256"):
            raise DamagedError(f"cell {key}: the predictions are truncated or altered")
        return Predictions.from_tensors(safetensors.torch.load(data))

    def write_evaluation(self, key: str, name: str, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Store what was computed from predictions: plain data and tensors (bootstrap replicates)."""
        self.folder.write(self._name(key, _evaluation(name)), seal(tensors, record))
        self.folder.remove(self._name(key, _failed_evaluation(name)))

    def write_failed_evaluation(self, key: str, name: str, failure: dict[str, Any]) -> None:
        """Record why an evaluation could not be made."""
        self._write_json(key, _failed_evaluation(name), failure)

    def evaluation(self, key: str, name: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """A stored evaluation, or None where there is none.

        Raises:
            DamagedError: it is truncated or altered.
        """
        try:
            tensors, record = unseal(self.folder.read(self._name(key, _evaluation(name))))
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise DamagedError(f"cell {key}: {_evaluation(name)}: {error}") from None
        return record, tensors

    def evaluation_failure(self, key: str, name: str) -> dict[str, Any] | None:
        """Why an evaluation could not be made, or None where nothing of that kind is known."""
        if not self.folder.exists(self._name(key, _failed_evaluation(name))):
            return None
        return self._read_json(key, _failed_evaluation(name))

    def evaluation_status(self, key: str, name: str) -> Status:
        """Whether an evaluation is done, has failed or is missing; what is in the file is not looked at."""
        if self.folder.exists(self._name(key, _evaluation(name))):
            return "done"
        return "failed" if self.folder.exists(self._name(key, _failed_evaluation(name))) else "missing"

    def forget_evaluation(self, key: str, name: str) -> None:
        """Remove an evaluation, or the record of its failure, so that it is made again."""
        for file in (_evaluation(name), _failed_evaluation(name)):
            self.folder.remove(self._name(key, file))

    def write_state(self, key: str, data: bytes) -> None:
        """Save the state of a running cell."""
        self.folder.write(self._name(key, STATE), data)

    def state(self, key: str) -> bytes | None:
        """The saved state of an unfinished cell, or None."""
        try:
            return self.folder.read(self._name(key, STATE))
        except FileNotFoundError:
            return None

    def write_log(self, key: str, lines: list[str]) -> None:
        """Write the cell's log."""
        self.folder.write(self._name(key, LOG), "".join(f"{line}\n" for line in lines).encode())

    def forget(self, key: str) -> None:
        """Remove everything about a cell."""
        self.folder.remove(f"cache/{key}")

    def sweep(self, key: str) -> None:
        """Remove the temporary files that a killed process left in a cell; for whoever holds the cell's lock."""
        for name in self.folder.names(f"cache/{key}"):
            if name.startswith(WRITING):
                self.folder.remove(self._name(key, name))

    def forget_failures(self, key: str) -> None:
        """Remove the recorded failures of a cell and of its evaluations, so that they are tried again."""
        for file in self.folder.names(f"cache/{key}"):
            if file.endswith(FAILURE):
                self.folder.remove(self._name(key, file))

    def verify(self) -> list[Finding]:
        """Read every stored file and report what is damaged, half-written or of another version."""
        return [finding for key in self.cells() for finding in (*self._of_predictions(key), *self._of_others(key))]

    def _of_predictions(self, key: str) -> Iterator[Finding]:
        try:
            if self.status(key) == "done":
                manifest = self.manifest(key)
                if manifest.get("key") != key:
                    yield Finding(key, "the manifest belongs to another cell")
                self.predictions(key)
                yield from self._of_weights(key, manifest.get("weights"))
            elif self.folder.exists(self._name(key, PREDICTIONS)):
                yield Finding(key, "predictions without a manifest (an interrupted write)")
        except UnreadableError as error:
            remedy = None if isinstance(error, NewerError) else CELL
            yield Finding(key, str(error).removeprefix(f"cell {key}: "), remedy)

    def _of_weights(self, key: str, record: dict[str, Any] | None) -> Iterator[Finding]:
        """Kept weights that are damaged; the predictions of the cell stay good without them."""
        data = self.folder.read(self._name(key, WEIGHTS)) if self.folder.exists(self._name(key, WEIGHTS)) else b""
        if record and data and hashlib.sha256(data).hexdigest() != record.get("sha256"):
            yield Finding(key, "the weights are truncated or altered", WEIGHTS)

    def _of_others(self, key: str) -> Iterator[Finding]:
        """Evaluations and the state of a running cell, each of which can be made again alone."""
        for file in self.folder.names(f"cache/{key}"):
            if file == STATE or (file.startswith(EVALUATION) and file.endswith(SEALED)):
                try:
                    unseal(self.folder.read(self._name(key, file)))
                except FileNotFoundError:  # it was the state of a cell that has ended just now
                    continue
                except ValueError as error:
                    yield Finding(key, f"{file}: {error}", file)

    def prune(self, keep: set[str] | None = None) -> list[str]:
        """Remove damaged cells and files, leftovers of interrupted writes and failures; with `keep`, cells not in it.

        Returns:
            The keys of the cells removed.
        """
        removed, findings = [], self.verify()
        damaged = {finding.key for finding in findings if finding.remedy == CELL}
        for key in self.cells():
            unwanted = keep is not None and key not in keep
            with self.lock(key) as held:
                if not held:  # somebody is at work on it
                    continue
                if key in damaged or unwanted or self.status(key) in ("failed", "missing"):
                    self.forget(key)
                    removed.append(key)
                    continue
                self.sweep(key)
                for finding in findings:
                    if finding.key == key and finding.remedy:
                        self.folder.remove(self._name(key, finding.remedy))
        return removed

    def bytes_of(self, key: str) -> int:
        """Bytes of all files of a cell."""
        return sum(self.folder.size(self._name(key, name)) for name in self.folder.names(f"cache/{key}"))

    def _write_json(self, key: str, file: str, value: dict[str, Any]) -> None:
        self.folder.write(self._name(key, file), json.dumps(value, indent=1).encode())

    def _read_json(self, key: str, file: str) -> dict[str, Any]:
        try:
            value = json.loads(self.folder.read(self._name(key, file)))
        except (ValueError, RecursionError):
            raise DamagedError(f"cell {key}: {file} is truncated or altered") from None
        except FileNotFoundError:
            raise DamagedError(f"cell {key}: {file} is missing") from None
        if not isinstance(value, dict):
            raise DamagedError(f"cell {key}: {file} holds no record")
        return value


def _evaluation(name: str) -> str:
    return f"{EVALUATION}{name}{SEALED}"


def _failed_evaluation(name: str) -> str:
    return f"{EVALUATION}{name}.failure.json"
