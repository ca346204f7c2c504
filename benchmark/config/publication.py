"""Published predictions: a folder or fsspec address with a manifest that names every file and its checksum."""

import hashlib
import json
from functools import cache
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.store.folder import Folder

AFFECTS_RESULTS = False
MANIFEST = "publication.json"


class PublishedFile(BaseModel):
    """One file of predictions.

    ``path`` is relative to the publication; the other fields say what it contains and what its bytes hash to.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    path: str
    sha256: str
    bytes: int
    dataset: str
    backbone: str
    recipe: str
    seed: int


class Publication(BaseModel):
    """The manifest of published predictions and results."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    suite: str
    predictions: tuple[PublishedFile, ...]
    results: dict[str, str]
    """Name of a results file to its SHA-256."""


@cache
def read_publication(address: str) -> Publication:
    """The manifest at a folder or fsspec address.

    Raises:
        InputError: there is none, or it is damaged; the message says which.
    """
    try:
        text = Folder(address, make=False).read(MANIFEST)
        return Publication.model_validate(json.loads(text))
    except FileNotFoundError:
        raise InputError(f"no {MANIFEST} at {_last(address)}: expected what `calbench publish` writes") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{MANIFEST}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{MANIFEST} at {_last(address)} is truncated or not JSON") from None


def read_published(address: str, path: str, sha256: str) -> bytes:
    """The bytes of a published file, checked against its checksum.

    Raises:
        InputError: the file is missing, or is not the one that was published.
    """
    try:
        data = Folder(address, make=False).read(path)
    except FileNotFoundError:
        raise InputError(f"published file {path}: no such file") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(f"published file {path}: its checksum is not that of the manifest")
    return data


def _last(address: str) -> str:
    """The last part of an address: enough for a message, and no path of anyone's machine."""
    return address.rstrip("/").rpartition("/")[2] or address
