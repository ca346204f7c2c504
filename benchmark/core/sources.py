"""The digest of the source code that a result depends on; part of every key, so that an edit makes a result stale.

From a class or function, every name in its source is followed to the top-level definition it refers to, through imports
and in closure; a function that walks its package's ``__path__`` depends on every module there. What is followed is
calbench itself and the user's code (a plug-in, the modules it imports), not installed libraries. Comments, docstrings,
formatting, annotations of functions, ``typing.cast``, and the module that a definition is in do not count. Modules that
cannot change a number say so with ``AFFECTS_RESULTS = False``; an edit that is known to change nothing is declared in
``unchanged.yaml`` (see `calbench.benchmark.core.unchanged`).
"""

import ast
import hashlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, cast

from calbench.benchmark.core.hashing import digest
from calbench.benchmark.core.unchanged import original

AFFECTS_RESULTS = False
Target = tuple[str, str]
"""A module and the name of a definition in it."""


@cache
def source_digest(*objects: Any) -> str:
    """The hash of the source of classes or functions and of all that they use.

    After an edit that is declared to change no result it is the hash before that edit.
    """
    return original(digest(sorted({code for one in objects for code in definition_digests(one).values()})))


@cache
def definition_digests(obj: Any) -> dict[str, str]:
    """Every definition that `obj` depends on, as ``module:name``, with the hash of its source.

    Args:
        obj: a class, a function, or ``module:name`` for one that need not be imported.
    """
    module, _, name = obj.partition(":") if isinstance(obj, str) else (obj.__module__, "", obj.__qualname__)
    home = module.partition(".")[0]
    todo: list[Target] = [(module, name.partition(".")[0])]
    seen: dict[Target, str] = {}
    while todo:
        target = todo.pop()
        if target not in seen:
            seen[target] = _module(target[0]).code(target[1])
            todo += _references(target, home)
            todo.append((target[0], ""))
    return {f"{module}:{name}": code for (module, name), code in sorted(seen.items()) if code}


@dataclass
class _Module:
    """The top level of a module: what each name is bound to, and the statements that bind nothing."""

    package: str = ""
    definitions: dict[str, list[ast.stmt]] = field(default_factory=lambda: dict[str, list[ast.stmt]]())
    imports: dict[str, Target] = field(default_factory=lambda: dict[str, Target]())
    effects: list[ast.stmt] = field(default_factory=lambda: list[ast.stmt]())
    codes: dict[str, str] = field(default_factory=lambda: dict[str, str]())

    def statements(self, name: str) -> list[ast.stmt]:
        """The statements that define `name`; with an empty name, those that define nothing."""
        return self.definitions.get(name, []) if name else self.effects

    def code(self, name: str) -> str:
        """The hash of `statements`."""
        if name not in self.codes:
            self.codes[name] = _hash(self.statements(name))
        return self.codes[name]

    def read(self, statements: Iterable[ast.stmt]) -> None:
        for statement in statements:
            names = list(_bound(statement))
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self.imports |= _imported(statement, self.package)
            elif names:
                for name in names:
                    self.definitions.setdefault(name, []).append(statement)
            elif isinstance(statement, ast.If | ast.Try | ast.With):
                self.read(node for node in ast.iter_child_nodes(statement) if isinstance(node, ast.stmt))
            elif not _is_docstring(statement):
                self.effects.append(statement)


@cache
def _module(name: str) -> _Module:
    path = _file(name)
    if path is None:
        return _Module()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return _parsed(path, package, path.stat().st_mtime_ns)


@cache
def _parsed(path: Path, package: str, modified: int) -> _Module:
    module, tree = _Module(package), ast.parse(path.read_text("utf-8"))
    module.read(tree.body)
    _WithoutCasts({name for name, target in module.imports.items() if target == ("typing", "cast")}).visit(tree)
    return module


class _WithoutCasts(ast.NodeTransformer):
    """Puts their second argument in the place of calls of ``typing.cast``, whose local names are `names`."""

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        is_cast = isinstance(node.func, ast.Name) and node.func.id in self.names and len(node.args) == 2
        return node.args[1] if is_cast else node


@cache
def _file(name: str) -> Path | None:
    """The source file of a module, or None for what is not a module written in Python."""
    loaded = sys.modules.get(name)
    origin = getattr(loaded, "__file__", None)
    if loaded is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None
        origin = spec.origin if spec else None
    return Path(origin) if origin and origin.endswith(".py") else None


@cache
def _followed(name: str, home: str) -> bool:
    """Whether a module is part of what is hashed: calbench, the code of the user, the package of a plug-in."""
    top = name.partition(".")[0]
    if top in sys.stdlib_module_names:
        return False
    if top not in ("calbench", home):
        path = _file(top)  # of the package only: looking for its modules would import it
        if path is None or {"site-packages", "dist-packages"} & set(path.parts):
            return False
    return _file(name) is not None and not any(_is_plumbing(part) for part in _with_parents(name))


def _with_parents(name: str) -> Iterator[str]:
    while name:
        yield name
        name = name.rpartition(".")[0]


@cache
def _is_plumbing(name: str) -> bool:
    statements = _module(name).definitions.get("AFFECTS_RESULTS", [])
    return any(isinstance(s, ast.Assign) and getattr(s.value, "value", None) is False for s in statements)


@cache
def _references(target: Target, home: str) -> list[Target]:
    """The definitions that a definition's source names."""
    module = _module(target[0])
    local: dict[str, Target] = {}
    chains: set[tuple[str, ...]] = set()
    for statement in module.statements(target[1]):
        for node in _names(statement):
            if isinstance(node, ast.Import | ast.ImportFrom):
                local |= _imported(node, module.package)
            else:
                chains.add(_chain(node))
    found: list[Target] = []
    for chain in sorted(chains):
        first, *rest = chain
        if first in local:
            found += _resolve(local[first], tuple(rest), home)
        elif first in module.definitions:
            found.append((target[0], first))
        elif first in module.imports:
            found += _resolve(module.imports[first], tuple(rest), home)
        elif first == "__path__" and target[1]:
            found += _submodules(target[0], home)
    return list(dict.fromkeys(found))


def _submodules(package: str, home: str) -> Iterator[Target]:
    """The definitions in the modules of a package, which a function with its ``__path__`` can import by name."""
    path = _file(package)
    for found in pkgutil.iter_modules([str(path.parent)] if path else []):
        yield from _resolve((f"{package}.{found.name}", ""), (), home)


def _resolve(imported: Target, attributes: tuple[str, ...], home: str) -> list[Target]:
    """The definitions that an imported name, followed by attributes, refers to."""
    name, attribute = imported
    if not _followed(name, home):
        return []
    if attribute and _file(f"{name}.{attribute}") is not None:
        name, attribute = f"{name}.{attribute}", ""
    if not _followed(name, home):
        return []
    if not attribute:
        if attributes:
            return _resolve((name, attributes[0]), attributes[1:], home)
        return [(name, one) for one in _module(name).definitions]
    module = _module(name)
    if attribute in module.definitions:
        return [(name, attribute)]
    if attribute in module.imports and module.imports[attribute] != imported:
        return _resolve(module.imports[attribute], attributes, home)
    value: Any = getattr(sys.modules.get(name), attribute, None)  # a name that the module makes when it is asked for
    origin = getattr(value, "__module__", None)
    return _resolve((origin, value.__qualname__), (), home) if isinstance(origin, str) and origin != name else []


def _imported(node: ast.Import | ast.ImportFrom, package: str) -> dict[str, Target]:
    """Local names of an import statement, with the module and the attribute that they are."""
    if isinstance(node, ast.Import):
        return {a.asname or a.name.partition(".")[0]: (a.name if a.asname else a.name.partition(".")[0], "")
                for a in node.names}  # fmt: skip
    base = node.module or ""
    if node.level:
        parts = package.split(".")
        base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [node.module])])
    return {alias.asname or alias.name: (base, alias.name) for alias in node.names}


def _bound(statement: ast.stmt) -> Iterator[str]:
    """The names that a top-level statement defines, imports left out."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield statement.name
    elif isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for target in targets:
            yield from (node.id for node in ast.walk(target) if isinstance(node, ast.Name))


def _names(node: ast.AST) -> Iterator[Any]:
    """Import statements, names, and dotted names (whole, not their parts) inside of `node`."""
    if isinstance(node, ast.Import | ast.ImportFrom) or _chain(node):
        yield node
    else:
        for child in ast.iter_child_nodes(node):
            yield from _names(child)


def _chain(node: ast.AST) -> tuple[str, ...]:
    """``a.b.c`` as ``("a", "b", "c")``; nothing for an attribute of something that is not a name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return (node.id, *reversed(parts)) if isinstance(node, ast.Name) else ()


def _hash(statements: list[ast.stmt]) -> str:
    """A hash of statements without what cannot change a result; empty for no statements."""
    text = repr([_plain(statement) for statement in statements])
    return hashlib.sha256(text.encode()).hexdigest()[:16] if statements else ""


_LEFT_OUT = frozenset({"ctx", "type_comment", "kind", "returns", "type_params"})


def _plain(node: Any) -> Any:
    """A syntax tree as nested tuples, equal for sources that differ in comments, docstrings or annotations only."""
    if isinstance(node, list):
        items = cast("list[object]", node)
        return [_plain(item) for item in items if not (isinstance(item, ast.stmt) and _changes_nothing(item))]
    if not isinstance(node, ast.AST):
        return node
    skipped = set(_LEFT_OUT)
    if isinstance(node, ast.arg):
        skipped.add("annotation")
    fields: list[tuple[str, Any]] = []
    for name in node._fields:
        value: Any = getattr(node, name, None)
        if name == "decorator_list":
            decorators: list[ast.expr] = value or []
            value = [one for one in decorators if not _is_registration(one)]
        if name not in skipped and value not in (None, []):
            fields.append((name, _plain(value)))
    return (type(node).__name__, *fields)


def _changes_nothing(statement: ast.stmt) -> bool:
    """A docstring, or the values of options that a tuned entry tries: a key holds the option that was used."""
    bound = list(_bound(statement)) if isinstance(statement, ast.Assign | ast.AnnAssign) else []
    return _is_docstring(statement) or bound == ["tune_grid"]


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(getattr(statement.value, "value", None), str)


def _is_registration(decorator: ast.expr) -> bool:
    """Whether a decorator is ``@register(...)``: its name, label and paper change no result."""
    return isinstance(decorator, ast.Call) and _chain(decorator.func)[-1:] == ("register",)
