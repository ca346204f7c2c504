"""Edits of the source that are declared to change no result, so that what was computed before them stays valid.

``unchanged.yaml`` is a list of declarations: ``definition`` (for people), ``new``, the hash of its source after the
edit, ``old``, the hashes that it replaces (none for a definition split out of others), and ``reason``. The command
``calbench cache accept SUITE --reason TEXT`` writes them from the results that an edit made stale.
"""

from functools import cache
from pathlib import Path
from typing import TypedDict

import yaml

AFFECTS_RESULTS = False
FILE = Path(__file__).with_name("unchanged.yaml")


class Declaration(TypedDict):
    """One edit that changes no result."""

    definition: str
    new: str
    old: list[str]
    reason: str


@cache
def declarations() -> dict[str, list[str]]:
    """Hash after the edit to the hashes before it."""
    return {one["new"]: one["old"] for one in yaml.safe_load(FILE.read_text("utf-8")) or []}


def canonical(code: str) -> set[str]:
    """The hashes that stand for the source with hash `code`: its own, or the oldest that it is declared equal to."""
    known, done, todo = declarations(), set(), [code]
    visited: set[str] = set()
    while todo:
        one = todo.pop()
        if one in known and one not in visited:
            visited.add(one)
            todo += known[one]
        elif one not in visited:
            done.add(one)
    return done


def declare(edits: list[Declaration]) -> None:
    """Add declarations to ``unchanged.yaml``; known ones are replaced."""
    before: list[Declaration] = yaml.safe_load(FILE.read_text("utf-8")) or []
    merged = {one["new"]: one for one in [*before, *edits]}
    FILE.write_text(yaml.safe_dump(list(merged.values()), sort_keys=False, width=120), "utf-8")
    declarations.cache_clear()
