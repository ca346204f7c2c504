"""Declares stored results valid after an edit of the source that changes no number."""

from typing import Any

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.hashing import digest
from calbench.benchmark.core.sources import source_digest
from calbench.benchmark.core.unchanged import Declaration, declare
from calbench.benchmark.execution.plan import Work
from calbench.benchmark.store.names import UnreadableError
from calbench.benchmark.store.store import Store

SOURCES = ("code", "source")
"""The fields of an identity that are digests of source code."""


def accept(plan: list[Work], store: Store, reason: str) -> list[Declaration]:
    """Declare the edits since the stored cells were made to change no result; the plan then finds those cells.

    Args:
        plan: the cells that are wanted.
        store: with cells that differ from them in the digests of the source only.
        reason: why the edits change no result, for the record.

    Returns:
        The declarations that were written to ``unchanged.yaml``.

    Raises:
        InputError: a wanted cell is missing and no stored one differs from it in the source only.
    """
    stored = _stored_identities(store)
    edits: dict[str, Declaration] = {}
    for work in plan:
        if store.status(work.cell.key) == "done":
            continue
        before = stored.get(digest(_without_sources(work.cell.identity)))
        if before is None:
            raise InputError(f"accept: no stored cell differs from {work.cell.describe()} in the source only")
        for part, new, old in _differences("", work.cell.identity, before):
            edits[new] = {"part": part, "new": new, "old": old, "reason": reason}
    declare(list(edits.values()))
    source_digest.cache_clear()
    return list(edits.values())


def _stored_identities(store: Store) -> dict[str, dict[str, Any]]:
    identities = {}
    for key in store.cells():
        try:
            identity = store.manifest(key)["cell"] if store.status(key) == "done" else None
        except (UnreadableError, KeyError):
            continue
        if isinstance(identity, dict):
            identities[digest(_without_sources(identity))] = identity
    return identities


def _without_sources(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_sources(item) for key, item in value.items() if key not in SOURCES}
    return [_without_sources(item) for item in value] if isinstance(value, list | tuple) else value


def _differences(place: str, new: Any, old: Any) -> list[tuple[str, str, str]]:
    """The digests of source code that differ: where, the new one and the old one."""
    if isinstance(new, dict):
        name = new.get("name", place)
        return [
            found
            for key in new
            for found in (
                [(str(name or "training"), new[key], old[key])]
                if key in SOURCES and new[key] != old[key]
                else _differences(str(name), new[key], old[key])
                if key not in SOURCES
                else []
            )
        ]
    if isinstance(new, list | tuple):
        return [found for a, b in zip(new, old, strict=True) for found in _differences(place, a, b)]
    return []
