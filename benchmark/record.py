"""What stands in ``run.json`` of every run alike: versions, commit, hardware, methods; and no absolute path."""

import datetime
import inspect
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..methods import Method
from . import environment
from .results import FORMAT

_ABSOLUTE_PATH = re.compile(r"""(?:(?<=[\s=('"\[:,])|^)~?/(?=[\w.])[^\s,()'"\]]*""")


def stamped(command: str, seconds: float, said: dict[str, Any]) -> dict[str, Any]:
    """The record of a run: what is `said` of it, with format, versions, commit, hardware, command and seconds."""
    stamp = {
        "format": FORMAT,
        "calbench": environment.versions()["calbench"],
        "commit": environment.commit(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command,
        "versions": environment.versions(),
        "hardware": environment.hardware(),
        "seconds": round(seconds, 1),
    }
    return without_paths(stamp | said)


def method_records(methods: Iterable[Method]) -> list[dict[str, Any]]:
    """Name, label, kind, paper, options and docstring of each method, as plain data."""
    return [
        {
            "name": method.spec.name,
            "label": method.spec.label,
            "kind": method.kind,
            "paper": method.spec.paper,
            "options": method.options(),
            "doc": inspect.getdoc(type(method)) or "",
        }
        for method in methods
    ]


def without_paths(value: Any) -> Any:
    """Plain data with every absolute path cut to its last part: no artefact holds one."""
    if isinstance(value, str):
        return _ABSOLUTE_PATH.sub(lambda match: Path(match[0]).name, value)
    if isinstance(value, dict):
        return {key: without_paths(item) for key, item in value.items()}
    return [without_paths(item) for item in value] if isinstance(value, list) else value
