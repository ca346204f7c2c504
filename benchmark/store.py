"""The store of predictions: one folder per cell, named by the cell's key, written once.

``cache/<key>/predictions.safetensors`` comes first and ``cache/<key>/manifest.json`` last: a cell is done when its
manifest is there, which holds the hash of the predictions. A failure leaves ``failure.json``
and no manifest.
"""

import hashlib
import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
from torch import Tensor

from .errors import InputError
from .folder import WRITING, Folder
from .predictions import Predictions

FORMAT = 1
Status = Literal["done", "failed", "partial", "missing"]
MANIFEST, PREDICTIONS, FAILURE, STATE, LOG = (
    "manifest.json",
    "predictions.safetensors",
    "failure.json",
    "state.safetensors",
    "log.txt",
)


class DamagedError(InputError):
    """A stored file that is truncated, altered or from another version."""


@dataclass(frozen=True)
class Finding:
    """One thing that `Store.verify` found wrong."""

    key: str
    problem: str


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

    def write(self, key: str, predictions: Predictions, manifest: dict[str, Any]) -> None:
        """Store a finished cell; the manifest is what makes it count."""
        data = safetensors.torch.save(predictions.to_tensors())
        record = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
        self.folder.write(self._name(key, PREDICTIONS), data)
        self._write_json(key, MANIFEST, {"format": FORMAT, "key": key, **manifest, "predictions": record})
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
            DamagedError: it cannot be read, or a newer calbench wrote it.
        """
        manifest = self._read_json(key, MANIFEST)
        if manifest.get("format") != FORMAT:
            raise DamagedError(
                f"cell {key}: manifest of format {manifest.get('format')!r}; this version reads {FORMAT}"
            )
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
        data = safetensors.torch.save(tensors, {"record": json.dumps(record)})
        self.folder.write(self._name(key, f"evaluation-{name}.safetensors"), data)

    def evaluation(self, key: str, name: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """A stored evaluation, or None where there is none (or it is damaged: it is only computed again)."""
        try:
            data = self.folder.read(self._name(key, f"evaluation-{name}.safetensors"))
            return json.loads(metadata_of(data)["record"]), safetensors.torch.load(data)
        except (FileNotFoundError, ValueError, KeyError, safetensors.SafetensorError):
            return None

    def has_evaluation(self, key: str, name: str) -> bool:
        """Whether an evaluation is stored."""
        return self.folder.exists(self._name(key, f"evaluation-{name}.safetensors"))

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

    def forget_failure(self, key: str) -> None:
        """Remove the recorded failure of a cell, so that it is tried again."""
        self.folder.remove(self._name(key, FAILURE))

    def verify(self) -> list[Finding]:
        """Read every finished cell and report what is damaged, half-written or of another version."""
        findings = []
        for key in self.cells():
            try:
                if self.status(key) == "done":
                    manifest = self.manifest(key)
                    if manifest.get("key") != key:
                        findings.append(Finding(key, "the manifest belongs to another cell"))
                    self.predictions(key)
                elif self.folder.exists(self._name(key, PREDICTIONS)):
                    findings.append(Finding(key, "predictions without a manifest (an interrupted write)"))
            except InputError as error:
                findings.append(Finding(key, str(error).removeprefix(f"cell {key}: ")))
        return findings

    def prune(self, keep: set[str] | None = None) -> list[str]:
        """Remove damaged cells, leftovers of interrupted writes and failures; with `keep`, all cells not in it.

        Returns:
            The keys removed.
        """
        damaged = {finding.key for finding in self.verify()}
        removed = []
        for key in self.cells():
            unwanted = keep is not None and key not in keep
            with self.lock(key) as held:
                if not held:  # somebody is at work on it
                    continue
                if key in damaged or unwanted or self.status(key) in ("failed", "missing"):
                    self.forget(key)
                    removed.append(key)
                else:
                    self.sweep(key)
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


def metadata_of(data: bytes) -> dict[str, str]:
    """The metadata of a safetensors file in memory (its header is JSON behind an eight-byte length).

    Raises:
        ValueError: the header is damaged.
    """
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        raise ValueError("safetensors header is longer than the file")
    try:
        header = json.loads(data[8 : 8 + length])
    except RecursionError:
        raise ValueError("safetensors header is nested too deeply") from None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict):
        raise ValueError("safetensors header holds no metadata")
    return metadata
