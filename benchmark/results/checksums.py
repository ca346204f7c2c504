"""Checksums of result files, which detect edited files and mixtures of old and new ones."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, cast

AFFECTS_RESULTS = False
CHECKSUMS = "checksums"
"""The field of ``run.json`` that holds them."""


def checksums(run: Mapping[str, Any], files: Mapping[str, bytes]) -> dict[str, str]:
    """The SHA-256 of every file of a result by name, that of ``run.json`` without the checksums themselves."""
    rest = {name: value for name, value in run.items() if name != CHECKSUMS}
    text = json.dumps(rest, sort_keys=True)
    return {
        **{name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "run.json": hashlib.sha256(text.encode()).hexdigest(),
    }


def edited(run: Mapping[str, Any], files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The files that are not as the run wrote them; none for results without checksums (of earlier versions)."""
    written = run.get(CHECKSUMS)
    if not isinstance(written, dict) or not written:
        return ()
    now, before = checksums(run, files), cast("dict[str, object]", written)
    return tuple(name for name in now if now[name] != before.get(name))
