"""The grammar of one term of an entry: a name with options, ``focal(gamma=5)``; and of labels."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from calbench.benchmark.core.bins import ECE_CRITERION
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.plain_yaml import read_yaml
from calbench.benchmark.core.registry import Component, option_fields
from calbench.benchmark.core.schema import ORACLE
from calbench.benchmark.core.text import visible, without_paths
from calbench.methods import registry

AFFECTS_RESULTS = False
Defaults = Mapping[str, Mapping[str, Any]]
_TERM = re.compile(r"(?P<name>[^\s()]+)\s*(?:\((?P<options>.*)\))?", re.DOTALL)


def split_outside_brackets(text: str, separator: str) -> list[str]:
    """Split `text` at `separator` where it stands outside brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for position, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth < 0:
                raise InputError(f"{text!r}: a closing bracket too many")
        elif char == separator and depth == 0:
            parts.append(text[start:position])
            start = position + 1
    if depth or quote:
        raise InputError(f"{text!r}: a bracket or quote is not closed")
    return [part.strip() for part in (*parts, text[start:])]


def parse_term(term: Any) -> tuple[str, dict[str, Any]]:
    """Read ``name``, ``name(option=value, ...)`` or ``{name: {option: value}}`` as a name and its options.

    Raises:
        InputError: anything else.
    """
    if isinstance(term, Mapping) and len(term) == 1:
        name, options = next(iter(term.items()))
        if isinstance(name, str) and (options is None or isinstance(options, Mapping)):
            return name, {str(key): value for key, value in (options or {}).items()}
    if not isinstance(term, str):
        raise InputError(f"expected a name, name(option=value) or name: {{option: value}}, got {term!r}")
    match = _TERM.fullmatch(term.strip())
    if match is None:
        hint = "; quote it inside a YAML list in brackets" if term.count("(") != term.count(")") else ""
        raise InputError(f"cannot read {term!r}: expected name or name(option=value, ...){hint}")
    options = {}
    for part in split_outside_brackets(match["options"] or "", ","):
        if not part:
            continue
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"cannot read {part!r} in {term!r}: expected option=value")
        try:
            options[key.strip()] = read_yaml(value)
        except InputError as error:
            raise InputError(f"cannot read the value of {key.strip()!r} in {term!r}") from error
    return match["name"], options


def make_component(term: Any, create: Callable[..., Component], defaults: Defaults | None = None) -> Any:
    """Make the component that `term` describes; `defaults` gives options by name that the term may override."""
    name, options = parse_term(term)
    return create(name, **with_defaults(name, options, defaults or {}))


def _bins_of_the_ece(name: str, options: Mapping[str, Any]) -> bool:
    """Whether a component minimises an ECE, by its options or by default, with an option for its bins."""
    if name not in registry or all(field.name != "bins" for field in option_fields(registry[name])):
        return False
    return options.get("criterion", getattr(registry[name], "criterion", None)) == "ece"


def with_defaults(name: str, options: Mapping[str, Any], defaults: Defaults) -> dict[str, Any]:
    """The options of a component, with those that the protocol sets by its name or, for ECE criteria, by the bins."""
    merged = {**defaults.get(name, {}), **options}
    if _bins_of_the_ece(name, merged):
        merged = {**defaults.get(ECE_CRITERION, {}), **merged}
    return merged


def checked_label(label: Any) -> str | None:
    """A label as text: a number is taken as it is written, and an absolute path is cut to its last part.

    Raises:
        InputError: it is anything else, has several lines or control characters, or is the name of the reference that
            tables never rank.
    """
    if label is None:
        return None
    if isinstance(label, bool) or not isinstance(label, str | int | float):
        raise InputError(f"label {label!r}: expected text")
    text = without_paths(str(label).strip())
    if "\n" in text or visible(text) != text or len(text) > 200:
        raise InputError(f"label {visible(text)[:60]!r}: expected one line of at most 200 printable characters")
    if text == ORACLE:
        raise InputError(f"label {text!r}: tables call the true class distribution so; choose another")
    return text
