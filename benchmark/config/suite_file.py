"""Reads the file of a suite, by name or path, as YAML with line numbers, and applies the options of ``--set``.

PyYAML's nodes have the lines. ruamel.yaml has them too, but reads YAML 1.2, in which the same file may mean another
suite, and counts the values of an alias no more than PyYAML does.
"""

import importlib.resources
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from calbench.benchmark.core.errors import InputError, check_names
from calbench.benchmark.core.limits import check_limit

MOST_CHARACTERS, MOST_VALUES, DEEPEST = 10_000_000, 1_000_000, 100
"""Bounds of a suite's file; see `calbench.benchmark.core.limits` for how to raise the first two."""
RESERVED_NAMES = ("cache", "reference", "tensorboard")
_NAME = re.compile(r"\w[\w .+=-]*")
Location = Sequence[str | int]
"""The keys and indices that lead to a value."""
Where = Callable[[Location], str]
"""From a location to what people call it: file and line."""


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
    if path.suffix not in (".yaml", ".yml") and not path.is_file():
        check_names("suite", [source], files)
    if not path.is_file():
        raise InputError(f"suite {source}: no such file")
    if path.stem in RESERVED_NAMES or not _NAME.fullmatch(path.stem):
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
        check_limit(len(text), MOST_CHARACTERS, "characters")
        node = yaml.compose(text, yaml.SafeLoader)
        check_limit(_expanded(node, {}, 0), MOST_VALUES, "values")
        raw = yaml.safe_load(text)
    except InputError as error:
        raise InputError(f"{origin}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{origin}{line}: not valid YAML: {getattr(error, 'problem', None) or error}") from None
    except (RecursionError, ValueError) as error:
        raise InputError(f"{origin}: not valid YAML: {error}") from None
    _check_keys(node, origin)
    if not isinstance(raw, dict) or not all(isinstance(key, str) for key in raw):
        raise InputError(f"{origin}, line 1: a suite is a mapping with the keys {', '.join(options)}")

    def where(location: Location) -> str:
        found = node
        for part in location:
            inner = next((child for key, child in _children(found) if key == part), None)
            if inner is None:
                break
            found = inner
        return f"{origin}, line {_line(found)}"

    return raw, where


def _line(node: yaml.Node | None) -> int:
    """The line that a part of a document starts in; an empty document has none and counts as its first."""
    return 1 if node is None else node.start_mark.line + 1


def _expanded(node: yaml.Node | None, known: dict[int, int | None], depth: int) -> int:
    """How many values a document has, those of an alias counted as often as it occurs.

    Raises:
        InputError: an alias inside of what it refers to, or more than `DEEPEST` levels.
    """
    if id(node) not in known:
        if depth > DEEPEST:
            raise InputError(f"not valid YAML: nested more than {DEEPEST} levels deep")
        known[id(node)] = None
        parts = (
            [part for pair in node.value for part in pair]
            if isinstance(node, yaml.MappingNode)
            else (node.value if isinstance(node, yaml.SequenceNode) else [])
        )
        known[id(node)] = 1 + sum(_expanded(part, known, depth + 1) for part in parts)
    count = known[id(node)]
    if count is None:
        raise InputError(f"line {_line(node)}: an alias inside of what it refers to")
    return count


def _check_keys(node: yaml.Node | None, origin: str) -> None:
    """Refuse a key that a mapping has twice: YAML would take the last one without a word."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                raise InputError(f"{origin}, line {key.start_mark.line + 1}: {key.value!r} is given twice")
            seen.add((key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key))
    for _, child in _children(node):
        _check_keys(child, origin)


def _children(node: yaml.Node | None) -> Iterator[tuple[str | int, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        yield from ((key.value, value) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        yield from enumerate(node.value)


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
        target[last] = yaml.safe_load(value)
    except (yaml.YAMLError, RecursionError, ValueError):
        raise InputError(f"--set {setting!r}: cannot read the value") from None
    return path.split(".")[0]
