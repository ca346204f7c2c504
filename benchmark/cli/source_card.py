"""Reads the declarations that `calbench show` prints from their source, since importing them takes seconds.

What a source does not tell without being run is left to the registries: then `card_from_source` gives None.
"""

import ast
import builtins
import importlib
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, Field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast, get_origin

from calbench.benchmark.cli.catalogue import Card, Option, type_name
from calbench.benchmark.cli.declared import class_sites

_LIGHT = ("collections.abc", "dataclasses", "math", "pathlib", "pydantic", "typing")
"""Modules that are imported for the types and defaults of options."""


class _NeedsImportError(Exception):
    """A name whose value only the import of its module gives."""


class _Class(NamedTuple):
    """A class in a module's source."""

    module: "_Module"
    node: ast.ClassDef


def card_from_source(what: str, name: str) -> Card | None:
    """The declaration `name` of the registry `what`, or None where only its import tells what it is.

    Args:
        what: a plural noun of `calbench.benchmark.cli.catalogue.REGISTRIES`.
        name: of a declaration that calbench ships.
    """
    if importlib.metadata.entry_points(group=f"calbench.{what}"):
        return None  # other packages declare some
    for site in class_sites(what):
        if site.name == name:
            try:
                return _card(what, name, _Class(_module_in(site.path), site.node), site.call)
            except Exception:  # whatever the source does not tell, the import does
                return None
    return None


def _card(what: str, name: str, cls: _Class, call: ast.Call) -> Card:
    lineage = list(dict.fromkeys(reversed(list(_lineage(cls)))))[::-1]
    keywords = {one.arg: cls.module.evaluated(one.value) for one in call.keywords}
    docstring = next((text for one in lineage if (text := ast.get_docstring(one.node))), "")
    return Card(
        name=name,
        label=keywords.get("label") or name,
        paper=keywords.get("paper"),
        kind=_attribute(lineage, "kind", what.removesuffix("s")),
        text=inspect.cleandoc(docstring),
        options=_options(lineage),
        needs=tuple(sorted(_attribute(lineage, "needs", ()))),
        keeps_accuracy=_attribute(lineage, "keeps_accuracy", False) if what == "methods" else None,
    )


def _lineage(cls: _Class) -> Iterator[_Class]:
    """A class and its bases in calbench, nearest first; one that is reached twice counts where it is last."""
    yield cls
    for base in cls.node.bases:
        root = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(root, ast.Name) and (found := cls.module.find_class(root.id)):
            yield from _lineage(found)


def _attribute(lineage: list[_Class], name: str, default: Any) -> Any:
    """A class attribute: the nearest value."""
    for cls in lineage:
        for statement in cls.node.body:
            if _target(statement) == name and (value := getattr(statement, "value", None)) is not None:
                return cls.module.evaluated(value)
            if isinstance(statement, ast.FunctionDef) and statement.name == name:
                raise _NeedsImportError(name)
    return default


def _options(lineage: list[_Class]) -> tuple[Option, ...]:
    """The dataclass fields of a class and its bases that its constructor takes, in the order of their declaration."""
    options: dict[str, Option] = {}
    for cls in reversed(lineage):
        if not any("dataclass" in ast.unparse(one) for one in cls.node.decorator_list):
            continue
        for statement in cls.node.body:
            name = _target(statement)
            if isinstance(statement, ast.Assign) and name in options:
                raise _NeedsImportError(name)
            if not isinstance(statement, ast.AnnAssign) or name is None:
                continue
            annotation = cls.module.evaluated(statement.annotation)
            if annotation is ClassVar or get_origin(annotation) is ClassVar:
                continue
            default = MISSING if statement.value is None else cls.module.evaluated(statement.value)
            if isinstance(default, Field):
                if not default.init:
                    continue
                default = default.default if default.default_factory is MISSING else default.default_factory()
            options[name] = Option(name, type_name(annotation), None if default is MISSING else repr(default))
    return tuple(options.values())


def _target(statement: ast.stmt) -> str | None:
    """The name that an assignment of one name binds."""
    targets: list[ast.expr] = getattr(statement, "targets", [])
    first = statement.target if isinstance(statement, ast.AnnAssign) else targets[0] if len(targets) == 1 else None
    return first.id if isinstance(first, ast.Name) else None


class _Module:
    """The names of a module as its source binds them: a mapping for `eval`, filled as names are asked for."""

    def __init__(self, path: Path) -> None:
        self.values: dict[str, Any] = {}
        self.nodes: dict[str, ast.stmt] = {}
        for node in ast.parse(path.read_text("utf-8")).body:
            for name in _bound(node):
                self.nodes[name] = node

    def __getitem__(self, name: str) -> Any:
        if name not in self.values:
            self.values[name] = self._value(name)
        return self.values[name]

    def evaluated(self, expression: ast.expr) -> Any:
        """The value of an expression of this module."""
        return eval(compile(ast.Expression(expression), "<source>", "eval"), {"__builtins__": {}}, cast("Any", self))

    def find_class(self, name: str) -> _Class | None:
        """The class `name` of this module or of the one of calbench that it is imported from."""
        node = self.nodes.get(name)
        if isinstance(node, ast.ClassDef):
            return _Class(self, node)
        source = _source_of(node, name)
        return source.module.find_class(source.name) if source else None

    def _value(self, name: str) -> Any:
        node = self.nodes.get(name)
        if node is None:
            return getattr(builtins, name)
        if source := _source_of(node, name):
            return source.module[source.name]
        if isinstance(node, ast.ImportFrom) and node.module in _LIGHT:
            return getattr(importlib.import_module(node.module), _original(node, name))
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            return self.evaluated(node.value)
        raise _NeedsImportError(name)


class _Source(NamedTuple):
    """Where an imported name comes from."""

    module: _Module
    name: str


def _source_of(node: ast.stmt | None, name: str) -> _Source | None:
    """The module of calbench that an import statement binds `name` from, and its name there."""
    if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("calbench."):
        return None
    return _Source(_module(node.module or ""), _original(node, name))


def _original(node: ast.ImportFrom, name: str) -> str:
    return next(alias.name for alias in node.names if (alias.asname or alias.name) == name)


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [alias.asname or alias.name for alias in node.names]
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        return [node.name]
    name = _target(node)
    return [] if name is None else [name]


def _module(module: str) -> _Module:
    """A module of calbench by its name, from its source."""
    top, inner = module.split(".")[:2], module.split(".")[2:]
    spec = importlib.util.find_spec(".".join(top))
    folder = Path((spec.submodule_search_locations or [""])[0] if spec else "").joinpath(*inner)
    return _module_in(folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py"))


@cache
def _module_in(path: Path) -> _Module:
    return _Module(path)
