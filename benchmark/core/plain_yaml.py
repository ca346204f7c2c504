"""Reads YAML of strangers: plain values only, with bounds on its size, its nesting and its numbers.

PyYAML's nodes have the lines. ruamel.yaml has them too, but reads YAML 1.2, in which the same file may mean another
suite, and counts the values of an alias no more than PyYAML does.
"""

from collections.abc import Iterator
from typing import Any, cast

import yaml

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import check_limit

AFFECTS_RESULTS = False
MOST_CHARACTERS, MOST_VALUES, DEEPEST, LONGEST_NUMBER = 1_000_000, 100_000, 100, 1000
"""Bounds of a text; see `calbench.benchmark.core.limits` for how to raise the first two."""
_LONGEST_MESSAGE = 200


class _Loader(yaml.SafeLoader):
    """PyYAML's loader of plain values, which stops within the text where a bound is exceeded."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.values = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Count a value and its level on the way down."""
        self.depth += 1
        self.values += 1
        if self.depth > DEEPEST + 1:
            raise InputError(f"not valid YAML: nested more than {DEEPEST} levels deep")
        if self.values % 1000 == 0:
            check_limit(self.values, MOST_VALUES, "values")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def number(self, node: yaml.ScalarNode) -> int | float:
        """A number of at most `LONGEST_NUMBER` characters; hexadecimal and sexagesimal digits would take minutes."""
        if len(node.value) > LONGEST_NUMBER:
            raise InputError(f"line {line_of(node)}: a number of more than {LONGEST_NUMBER:,} characters")
        is_float = node.tag.endswith(":float")
        return self.construct_yaml_float(node) if is_float else self.construct_yaml_int(node)


for kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{kind}", _Loader.number)


def read_yaml(text: str) -> Any:
    """The plain values in `text`.

    Raises:
        InputError: no YAML, or more than the bounds; the message has one line.

    Example:
        >>> read_yaml("{size: 3, name: x}")
        {'size': 3, 'name': 'x'}
    """
    return read_nodes(text)[0]


def read_nodes(text: str) -> tuple[Any, yaml.Node | None]:
    """The plain values in `text`, and the nodes that have their lines.

    A key that a mapping has twice is refused: YAML would take the last one without a word.

    Raises:
        InputError: as in `read_yaml`.
    """
    check_limit(len(text), MOST_CHARACTERS, "characters")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        check_limit(_expanded(node, {}, 0), MOST_VALUES, "values")
        _check_keys(node)
        return None if node is None else cast("Any", loader).construct_document(node), node
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise InputError(f"{line}not valid YAML: {_short(getattr(error, 'problem', None) or error)}") from None
    except (RecursionError, ValueError, OverflowError) as error:
        raise error if isinstance(error, InputError) else InputError(f"not valid YAML: {_short(error)}") from None


def line_of(node: yaml.Node | None) -> int:
    """The line that a part of a document starts in; an empty document has none and counts as its first."""
    return 1 if node is None else node.start_mark.line + 1


def children(node: yaml.Node | None) -> Iterator[tuple[str | int, yaml.Node]]:
    """The parts of a mapping by key, with what ``<<`` merges before its own, or of a list by index."""
    if isinstance(node, yaml.MappingNode):
        yield from ((key.value, value) for key, value in node.value)
    elif isinstance(node, yaml.SequenceNode):
        yield from enumerate(node.value)


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
        raise InputError(f"line {line_of(node)}: an alias inside of what it refers to")
    return count


def _check_keys(node: yaml.Node | None) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: set[Any] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                raise InputError(f"line {line_of(key)}: {_short(key.value)!r} is given twice")
            seen.add((key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key))
    for _, child in children(node):
        _check_keys(child)


def _short(text: object) -> str:
    """A message in one line of bounded length: it may quote the file."""
    line = " ".join(str(text).split())
    return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]}..."
