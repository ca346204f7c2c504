"""Reads names, kinds and summaries of what calbench ships from its source, since importing all of it takes seconds."""

import ast
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from calbench.benchmark.cli.catalogue import FOLDERS, REGISTRIES

_KINDS = {"losses": "objective"}
"""The kind of the methods in a folder, where it is not the folder's name without its plural s."""


_DEFINE = ("base", "_base", "ood")
"""The modules of a package that define the decorators of its declarations."""


class Declared(NamedTuple):
    """One declaration: its name, a method's kind, and the first sentence of its docstring."""

    name: str
    kind: str
    summary: str


class ClassSite(NamedTuple):
    """A class that is registered: its name there, its file, the class and its decorator in the source."""

    name: str
    path: Path
    node: ast.ClassDef
    call: ast.Call


def declared(what: str) -> list[Declared] | None:
    """What the registry `what` has, sorted by name; None where the source does not tell without being run.

    Args:
        what: a plural noun of `calbench.benchmark.cli.catalogue.REGISTRIES`.
    """
    if importlib.metadata.entry_points(group=f"calbench.{what}"):
        return None  # other packages declare some
    try:
        homes = _homes(what)
        rows = list(_declarations([path for folder in _folders(what) for path in _modules(folder)], homes))
    except _NotConstantError:
        return None
    return sorted(rows)


def class_sites(what: str) -> Iterator[ClassSite]:
    """The classes that the registry `what` has under a name of their own, in the source of what calbench ships."""
    homes = _homes(what)
    for path in (path for folder in _folders(what) for path in _modules(folder)):
        for site in _sites(path, homes):
            if site.decorator == "register" and isinstance(site.node, ast.ClassDef):
                yield ClassSite(site.name, path, site.node, site.call)


def _folders(what: str) -> list[Path]:
    package, _, inner = REGISTRIES[what].partition(":")
    spec = importlib.util.find_spec(package)
    root = Path((spec.submodule_search_locations or [""])[0]) if spec else Path()
    return [root / name for name in FOLDERS[what]] if what in FOLDERS else [root / inner]


def _homes(what: str) -> set[str]:
    """The modules from which a declaration may import the decorators of this registry."""
    package = REGISTRIES[what].replace(":", ".")
    return {package, *(f"{package}.{name}" for name in _DEFINE)}


def _modules(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*.py")):
        if not any(part.startswith("_") for part in path.relative_to(folder).parts):
            yield path


class _NotConstantError(Exception):
    """A class is registered under a name that is computed."""


class _Site(NamedTuple):
    """A decorator of a declaration: its function, its first argument, and what it decorates."""

    decorator: str
    name: str
    path: Path
    docstring: str
    node: ast.ClassDef | ast.FunctionDef
    call: ast.Call


_DECORATORS = ("register", "of_every_score", "score")
"""The decorators that declare: one declaration each, or one for every pair of the last two."""


def _declarations(paths: Iterable[Path], homes: set[str]) -> Iterator[Declared]:
    """The declarations in some modules: a registered class, and every pair of a measure and a score of samples."""
    sites = [site for path in paths for site in _sites(path, homes)]
    scores = [site for site in sites if site.decorator == "score"]
    for site in sites:
        first = " ".join(site.docstring.split("\n\n")[0].split())
        if site.decorator == "register":
            yield Declared(site.name, _kind(site.path), first)
        elif site.decorator == "of_every_score":
            for score in scores:
                text = " ".join(f"{site.docstring} Score: {score.docstring}".split("\n\n")[0].split())
                yield Declared(f"{site.name}-{score.name}", _kind(site.path), text)


def _sites(path: Path, homes: set[str]) -> Iterator[_Site]:
    """The declaring decorators in a module, which imports them from one of `homes` or defines them."""
    tree = ast.parse(path.read_text("utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module in homes]
    known = {alias.name for node in imports for alias in node.names}
    nodes = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
    if path.stem in _DEFINE:
        known |= {node.name for node in nodes}
    decorated = {id(decorator): node for node in nodes for decorator in node.decorator_list}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        decorator = node.func.id
        if decorator not in known.intersection(_DECORATORS):
            continue
        target, name = decorated.get(id(node)), node.args[0] if node.args else None
        if target is None or not isinstance(name, ast.Constant):
            raise _NotConstantError(path.name)
        yield _Site(decorator, str(name.value), path, inspect.cleandoc(ast.get_docstring(target) or ""), target, node)


def _kind(path: Path) -> str:
    """The kind of the methods in a file; other declarations have none."""
    for folder in FOLDERS["methods"]:
        if folder in (path.parent.name, path.parent.parent.name):
            return _KINDS.get(folder, folder.removesuffix("s"))
    return ""
