"""Reads the file of a suite, by name or path, as YAML with line numbers, and applies the options of ``--set``."""

import importlib.resources
import re
from collections.abc import Callable, Iterable, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from calbench.benchmark.core.errors import InputError, check_names
from calbench.benchmark.core.files import is_device
from calbench.benchmark.core.plain_yaml import children, line_of, read_nodes, read_yaml

RESERVED_NAMES = ("cache", "reference", "tensorboard")
_NAME = re.compile(r"\w[\w .+=-]*")
Location = Sequence[str | int]
"""The keys and indices that lead to a value."""
Where = Callable[[Location], str]
"""From a location to what people call it: file and line."""


def is_results_name(name: str) -> bool:
    """Whether results may have this name, on Windows too: no folder of ours, no device, no dot at the end.

    Upper and lower case are the same there and on macOS.
    """
    return name.casefold() not in RESERVED_NAMES and not is_device(name) and not name.endswith((".", " "))


def suite_files() -> dict[str, Traversable]:
    """The suites that come with calbench: name to file."""
    folder = importlib.resources.files("calbench.benchmark.config.suites")
    return {Path(f.name).stem: f for f in sorted(folder.iterdir(), key=lambda f: f.name) if f.name.endswith(".yaml")}


def read_suite(source: str) -> tuple[str, str, str]:
    """Name, text and display name of a suite: one of `suite_files`, or the path of a YAML file.

    Raises:
        InputError: no such suite or file, no text, or a name that the results folder needs for itself.
    """
    if source in (files := suite_files()):
        return source, files[source].read_text("utf-8"), f"{source}.yaml"
    path = Path(source)
    if (whole := source.partition("@")[0]) in files and not path.exists():
        options = "--entry, --seed, --set"
        raise InputError(f"{source} is a name of results; give suite {whole} and the options of that run ({options})")
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        check_names("suite", [source], files)
    if not path.is_file():
        raise InputError(f"suite {source}: no such file")
    if not is_results_name(path.stem) or not _NAME.fullmatch(path.stem):
        raise InputError(f"suite {path.name}: {path.stem!r} cannot be the name of a folder among the results")
    try:
        return path.stem, path.read_text("utf-8"), path.name
    except UnicodeDecodeError as error:
        raise InputError(f"suite {path.name}: not a text file in UTF-8 ({error.reason})") from None


def parse_mapping(text: str, origin: str, options: Iterable[str]) -> tuple[dict[str, Any], Where]:
    """The mapping in `text`, and a function from a location in it to ``"file, line n"``.

    Args:
        text: of the file.
        origin: what the file is called in messages.
        options: the keys that a suite may have.

    Raises:
        InputError: no YAML, or no mapping.
    """
    try:
        raw, node = read_nodes(text)
    except InputError as error:
        raise InputError(f"{origin}{', ' if str(error).startswith('line ') else ': '}{error}") from None
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise InputError(f"{origin}, line 1: a suite is a mapping with the keys {', '.join(options)}")

    def where(location: Location) -> str:
        found = node
        for part in location:
            inner = [child for key, child in children(found) if key == part]
            if not inner:
                break
            found = inner[-1]
        return f"{origin}, line {line_of(found)}"

    return raw, where


def apply_setting(raw: dict[str, Any], setting: str, options: Iterable[str]) -> str:
    """Apply one ``a.b=value`` to the mapping of a suite, in place; returns ``a``.

    Raises:
        InputError: no such option, no mapping at ``a``, or a value that cannot be read.
    """
    path, equals, value = setting.partition("=")
    if not equals or not path:
        raise InputError(f"--set {setting!r}: expected name.name=value")
    *parents, last = path.split(".")
    check_names("suite option", [path.split(".")[0]], options)
    target: dict[str, Any] = raw
    for part in parents:
        inner = target.setdefault(part, {})
        if isinstance(inner, str) and part == "protocol":
            inner = target[part] = {"name": inner}
        if not isinstance(inner, dict):
            raise InputError(f"--set {setting!r}: {part!r} is not a mapping")
        target = inner
    try:
        target[last] = read_yaml(value)
    except InputError as error:
        raise InputError(f"--set {setting!r}: cannot read the value: {error}") from None
    return path.split(".")[0]
