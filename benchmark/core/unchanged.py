"""Edits of the source that are declared to change no result, so that what was computed before them stays valid.

``unchanged.yaml`` lists declarations: ``part``, what was edited (for people), ``new`` and ``old``, the digests of its
source after and before the edit, and ``reason``. The command ``calbench cache accept SUITE --reason TEXT`` writes them
for the results that an edit made stale.
"""

from functools import cache
from pathlib import Path
from typing import TypedDict

import yaml

AFFECTS_RESULTS = False
FILE = Path(__file__).with_name("unchanged.yaml")


class Declaration(TypedDict):
    """One edit that changes no result."""

    part: str
    new: str
    old: str
    reason: str


@cache
def declarations() -> dict[str, str]:
    """Digest after an edit to the digest before it."""
    return {one["new"]: one["old"] for one in _read()}


def original(digest: str) -> str:
    """The oldest digest that `digest` is declared equal to; `digest` itself if there is none."""
    known = declarations()
    seen: set[str] = set()
    while digest in known and digest not in seen:
        seen.add(digest)
        digest = known[digest]
    return digest


def declare(edits: list[Declaration]) -> None:
    """Add declarations to ``unchanged.yaml``; known ones are replaced."""
    merged = {one["new"]: one for one in [*_read(), *edits]}
    text: str = yaml.safe_dump(list(merged.values()), sort_keys=False, width=120)  # pyright: ignore[reportUnknownMemberType]
    FILE.write_text(text, "utf-8")
    declarations.cache_clear()


def _read() -> list[Declaration]:
    return yaml.safe_load(FILE.read_text("utf-8")) or []
