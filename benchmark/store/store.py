"""The store of predictions: one folder per cell, named by the cell's key, written once.

``cache/<key>/predictions.safetensors`` comes first (and ``weights.safetensors`` with ``keep: weights``) and
``cache/<key>/manifest.json`` last: a cell is done when its manifest is there, which has their checksums. Evaluations
carry a checksum that covers the cell, their name and the predictions that they were made from. A failure leaves
``failure.json`` and no manifest.
"""

import hashlib
import json
import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
from torch import Tensor

from calbench.benchmark.core.files import WRITING
from calbench.benchmark.core.hashing import LENGTH
from calbench.benchmark.predictions.predictions import Predictions
from calbench.benchmark.store.checked import pack, unpack, with_checksum, without_checksum
from calbench.benchmark.store.findings import CELL, Finding, findings
from calbench.benchmark.store.folder import Folder
from calbench.benchmark.store.manifest import checksum, problem
from calbench.benchmark.store.names import (
    EVALUATION,
    FAILURE,
    LOG,
    MANIFEST,
    PREDICTIONS,
    SEALED,
    STATE,
    WEIGHTS,
    DamagedError,
    NewerError,
)  # fmt: skip

FORMAT = 2
Status = Literal["done", "damaged", "failed", "partial", "missing"]
_KEY = re.compile(rf"[0-9a-f]{{{LENGTH}}}")


class Store:
    """Predictions, evaluations, failures and training states of cells in a results folder.

    Args:
        root: the results folder; its ``cache`` sub-folder is the store.
        make: make the folder now; whoever only reads leaves nothing behind at a mistyped address.
    """

    def __init__(self, root: str | Path, *, make: bool = True) -> None:
        self.folder = Folder(root, make=make)

    def _name(self, key: str, file: str) -> str:
        return f"cache/{key}/{file}"

    def cells(self) -> list[str]:
        """All keys in the store, in whatever state; files and folders of other names are ignored."""
        return [name for name in self.folder.names("cache") if _KEY.fullmatch(name)]

    def files(self, key: str) -> list[str]:
        """The names in a cell's folder."""
        return self.folder.names(f"cache/{key}")

    def status(self, key: str) -> Status:
        """Whether a cell is done, has a damaged manifest, has failed, has a saved training state, or is missing."""
        if self.folder.exists(self._name(key, MANIFEST)):
            try:
                self.manifest(key)
            except DamagedError:
                return "damaged"
            except NewerError:
                return "done"
            return "done"
        if self.folder.exists(self._name(key, FAILURE)):
            return "failed"
        return "partial" if self.folder.exists(self._name(key, STATE)) else "missing"

    def lock(self, key: str) -> AbstractContextManager[bool]:
        """Context manager that yields whether this process holds the cell."""
        return self.folder.lock(f"cache/.locks/{key}")

    def holder(self, key: str) -> str:
        """Which process holds a cell just now, for people."""
        return self.folder.holder(f"cache/.locks/{key}")

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
        written = {"format": FORMAT, "key": key, **manifest, **records}
        self._write_json(key, MANIFEST, written | {"sha256": checksum(written)})
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
            DamagedError: it is truncated or altered, or belongs to another cell.
            NewerError: a newer calbench wrote it.
        """
        manifest = self._read_json(key, MANIFEST)
        found = manifest.get("format")
        if isinstance(found, int) and found > FORMAT:
            reason = f"a newer calbench wrote it (format {found}; this version reads {FORMAT}), and it is kept"
            raise NewerError(f"cell {key}: {reason}")
        if found != FORMAT:
            raise DamagedError(f"cell {key}: manifest of format {found!r}; this version reads {FORMAT}")
        if manifest.get("key") != key:
            raise DamagedError(f"cell {key}: the manifest belongs to another cell")
        if manifest.get("sha256") != checksum(manifest):
            raise DamagedError(f"cell {key}: the manifest is truncated or altered")
        if wrong := problem(manifest):
            raise DamagedError(f"cell {key}: the manifest is malformed: {wrong}")
        return manifest

    def predictions(self, key: str) -> Predictions:
        """The predictions of a finished cell, checked against the manifest.

        Raises:
            DamagedError: the file is missing, truncated or altered.
        """
        record = self.manifest(key)["predictions"]
        try:
            data = self.read(key, PREDICTIONS)
        except FileNotFoundError:
            raise DamagedError(f"cell {key}: the predictions are missing") from None
        if len(data) != record.get("bytes") or hashlib.sha256(data).hexdigest() != record.get("sha256"):
            raise DamagedError(f"cell {key}: the predictions are truncated or altered")
        try:
            return Predictions.from_tensors(safetensors.torch.load(data))
        except (safetensors.SafetensorError, ValueError) as error:
            raise DamagedError(f"cell {key}: {PREDICTIONS}: {error}") from None

    def write_evaluation(self, key: str, name: str, record: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Store what was computed from predictions: plain data and tensors (bootstrap replicates)."""
        data = with_checksum(pack(tensors, record), *self._context(key, name))
        self.folder.write(self._name(key, _evaluation(name)), data)
        self.folder.remove(self._name(key, _failed_evaluation(name)))

    def write_failed_evaluation(self, key: str, name: str, failure: dict[str, Any]) -> None:
        """Record why an evaluation could not be made."""
        self._write_json(key, _failed_evaluation(name), failure)

    def evaluation(self, key: str, name: str) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
        """A stored evaluation, or None if it does not exist.

        Raises:
            DamagedError: it is truncated or altered, or was made from other predictions.
        """
        try:
            data, context = self.read(key, _evaluation(name)), self._context(key, name)
        except FileNotFoundError:
            return None
        try:
            tensors, record = unpack(without_checksum(data, *context))
        except ValueError as error:
            raise DamagedError(f"cell {key}: {_evaluation(name)}: {error}") from None
        return record, tensors

    def _context(self, key: str, name: str) -> tuple[str, str, str]:
        """What an evaluation belongs to: the cell, its name, and the predictions."""
        return key, name, self.manifest(key)["predictions"]["sha256"]

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
        self.folder.write(self._name(key, STATE), with_checksum(data, key))

    def state(self, key: str) -> bytes | None:
        """The saved state of an unfinished cell, or None if it has none.

        Raises:
            DamagedError: it is truncated or altered, or of another cell.
        """
        try:
            data = self.read(key, STATE)
        except FileNotFoundError:
            return None
        try:
            return without_checksum(data, key)
        except ValueError as error:
            raise DamagedError(f"cell {key}: {STATE}: {error}") from None

    def write_log(self, key: str, lines: list[str]) -> None:
        """Write the cell's log."""
        self.folder.write(self._name(key, LOG), "".join(f"{line}\n" for line in lines).encode())

    def forget(self, key: str) -> None:
        """Remove everything about a cell."""
        self.folder.remove(f"cache/{key}")

    def sweep(self, key: str) -> None:
        """Remove the temporary files that a killed process left in a cell; for whoever holds the cell's lock."""
        for name in self.files(key):
            if name.startswith(WRITING):
                self.folder.remove(self._name(key, name))

    def forget_failures(self, key: str) -> None:
        """Remove the recorded failures of a cell and of its evaluations, so that they are tried again."""
        for file in self.files(key):
            if file.endswith(FAILURE):
                self.folder.remove(self._name(key, file))

    def verify(self) -> list[Finding]:
        """Read every stored file and report what is damaged, half-written or of another version."""
        return [finding for key in self.cells() for finding in findings(self, key)]

    def prune(self, keep: set[str] | None = None) -> list[str]:
        """Remove damaged cells and files, leftovers of interrupted writes and failures; with `keep`, cells not in it.

        Returns:
            The keys of the cells removed. A cell that another process is working on stays as it is.
        """
        removed = []
        for key in self.cells():
            with self.lock(key) as held:
                if not held:
                    continue
                problems = findings(self, key)  # looked at under the lock: what is good by now is not removed
                unwanted = keep is not None and key not in keep
                whole = any(finding.remedy == CELL for finding in problems)
                if whole or unwanted or self.status(key) in ("failed", "missing"):
                    self.forget(key)
                    removed.append(key)
                    continue
                self.sweep(key)
                for finding in problems:
                    if finding.remedy:
                        self.folder.remove(self._name(key, finding.remedy))
        return removed

    def bytes_of(self, key: str) -> int:
        """Bytes of all files of a cell."""
        return sum(self.folder.size(self._name(key, name)) for name in self.files(key))

    def _write_json(self, key: str, file: str, value: dict[str, Any]) -> None:
        self.folder.write(self._name(key, file), json.dumps(value, indent=1).encode())

    def read(self, key: str, file: str) -> bytes:
        """The bytes of a file of a cell.

        Raises:
            FileNotFoundError: it does not exist.
            DamagedError: it is a folder, a pipe or a device.
        """
        try:
            return self.folder.read(self._name(key, file))
        except IsADirectoryError:
            raise DamagedError(f"cell {key}: {file} is no regular file") from None

    def _read_json(self, key: str, file: str) -> dict[str, Any]:
        try:
            value = json.loads(self.read(key, file))
        except (ValueError, RecursionError):
            raise DamagedError(f"cell {key}: {file} is truncated or altered") from None
        except FileNotFoundError:
            raise DamagedError(f"cell {key}: {file} is missing") from None
        if not isinstance(value, dict):
            raise DamagedError(f"cell {key}: {file} has no record")
        return value


def _evaluation(name: str) -> str:
    return f"{EVALUATION}{name}{SEALED}"


def _failed_evaluation(name: str) -> str:
    return f"{EVALUATION}{name}.failure.json"
