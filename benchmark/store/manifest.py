"""The manifest of a cell (how it was trained, and on what), checked when it is read."""

import hashlib
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

AFFECTS_RESULTS = False
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class FileRecord(BaseModel):
    """A file of the cell: its SHA-256 and its size."""

    sha256: str
    bytes: Annotated[int, Field(ge=0)]


class _Manifest(BaseModel):
    model_config = ConfigDict(extra="allow")
    predictions: FileRecord
    weights: FileRecord | None = None
    name: str = ""
    dataset: str = ""
    backbone: str = ""
    recipe: str = ""
    seconds: Seconds = 0.0
    created: str = ""
    commit: str | None = None
    note: str | None = None
    parameters: int | None = None
    extra_parameters_percent: float | None = None
    versions: dict[str, str] = {}
    hardware: dict[str, Any] = {}
    history: list[dict[str, float]] = []
    checkpoints: dict[str, int] = {}


def problem(manifest: dict[str, Any]) -> str | None:
    """What is wrong with the fields of a manifest, in one line, or None."""
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    return None


def checksum(manifest: dict[str, Any]) -> str:
    """The hash of everything in a manifest but the hash itself."""
    covered = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()
