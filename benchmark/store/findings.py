"""Checks the stored files of a cell, and lists the damaged ones."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calbench.benchmark.store.names import (
    EVALUATION,
    PREDICTIONS,
    SEALED,
    SPLIT,
    STATE,
    WEIGHTS,
    DamagedError,
    NewerError,
    UnreadableError,
)  # fmt: skip
from calbench.benchmark.store.splits import read_split

if TYPE_CHECKING:
    from calbench.benchmark.store.store import Store

AFFECTS_RESULTS = False
CELL = ""
"""The remedy that is the removal of a whole cell."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a cell.

    Attributes:
        key: the cell.
        problem: what is wrong.
        remedy: what `Store.prune` removes: the whole cell, the name of one file in it, or None for nothing.
    """

    key: str
    problem: str
    remedy: str | None = CELL


def findings(store: "Store", key: str) -> list[Finding]:
    """Read every file of a cell and report what is damaged, half-written or of another version."""
    found = list(_of_predictions(store, key))
    if any(finding.remedy == CELL for finding in found):  # nothing that was made from the predictions is left then
        return found
    return [*found, *_of_others(store, key)]


def _of_predictions(store: "Store", key: str) -> Iterator[Finding]:
    try:
        if store.status(key) in ("done", "damaged"):
            manifest = store.manifest(key)
            store.predictions(key)
            yield from _of_weights(store, key, manifest.get("weights"))
        elif PREDICTIONS in store.files(key):
            yield Finding(key, "predictions without a manifest (an interrupted write)")
    except UnreadableError as error:
        remedy = None if isinstance(error, NewerError) else CELL
        yield Finding(key, str(error).removeprefix(f"cell {key}: "), remedy)


def _of_weights(store: "Store", key: str, record: dict[str, Any] | None) -> Iterator[Finding]:
    """Kept weights that are damaged; the predictions of the cell stay good without them."""
    if not record or WEIGHTS not in store.files(key):
        return
    try:
        data = store.read(key, WEIGHTS)
    except FileNotFoundError:  # a link to nothing
        data = b""
    except DamagedError as error:
        yield Finding(key, str(error).removeprefix(f"cell {key}: "), WEIGHTS)
        return
    if hashlib.sha256(data).hexdigest() != record.get("sha256"):
        yield Finding(key, "the weights are truncated or altered", WEIGHTS)


def _of_others(store: "Store", key: str) -> Iterator[Finding]:
    """Evaluations, further splits and the state of a running cell, each of which can be made again by itself."""
    for file in store.files(key):
        try:
            if file == STATE:
                store.state(key)
            elif file.startswith(EVALUATION) and file.endswith(SEALED):
                store.evaluation(key, file.removeprefix(EVALUATION).removesuffix(SEALED))
            elif file.startswith(SPLIT) and file.endswith(SEALED):
                read_split(store, key, file.removeprefix(SPLIT).removesuffix(SEALED))
        except NewerError:
            continue
        except DamagedError as error:
            yield Finding(key, str(error).removeprefix(f"cell {key}: "), file)
