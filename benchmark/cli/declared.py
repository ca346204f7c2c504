"""Reads names, kinds and summaries of what calbench ships from its source, since importing all of it takes seconds."""

import ast
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from calbench.benchmark.cli.catalogue import FOLDERS, REGISTRIES

_KINDS = {"losses": "objective"}
"""The kind of the methods in a folder, where it is not the folder's name without its plural s."""


class Declared(NamedTuple):
    """One declaration: its name, a method's kind, and the first sentence of its docstring."""

    name: str
    kind: str
    summary: str


def declared(what: str) -> list[Declared] | None:
    """What the registry `what` has, sorted by name; None where the source does not tell without being run.

    Args:
        what: a plural noun of `calbench.benchmark.cli.catalogue.REGISTRIES`.
    """
    if importlib.metadata.entry_points(group=f"calbench.{what}"):
        return None  # other packages declare some
    try:
        homes = _homes(what)
        rows = [row for folder in _folders(what) for path in _modules(folder) for row in _declarations(path, homes)]
    except _NotConstantError:
        return None
    return sorted(rows)


def _folders(what: str) -> list[Path]:
    package, _, inner = REGISTRIES[what].partition(":")
    spec = importlib.util.find_spec(package)
    root = Path((spec.submodule_search_locations or [""])[0]) if spec else Path()
    return [root / name for name in FOLDERS[what]] if what in FOLDERS else [root / inner]


def _homes(what: str) -> set[str]:
    """The modules from which a declaration may import the ``register`` of this registry."""
    package = REGISTRIES[what].replace(":", ".")
    return {package, f"{package}.base", f"{package}._base"}


def _modules(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*.py")):
        if not any(part.startswith("_") for part in path.relative_to(folder).parts):
            yield path


class _NotConstantError(Exception):
    """A class is registered under a name that is computed."""


def _declarations(path: Path, homes: set[str]) -> Iterator[Declared]:
    tree = ast.parse(path.read_text("utf-8"))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    if not any(node.module in homes and "register" in [name.name for name in node.names] for node in imports):
        return
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    decorators = {id(decorator): node for node in classes for decorator in node.decorator_list}
    for node in ast.walk(tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "register"):
            continue
        cls, name = decorators.get(id(node)), node.args[0] if node.args else None
        if cls is None or not isinstance(name, ast.Constant):
            raise _NotConstantError(path.name)
        text = inspect.cleandoc(ast.get_docstring(cls) or "").split("\n\n")[0]
        yield Declared(str(name.value), _kind(path), " ".join(text.split()))


def _kind(path: Path) -> str:
    """The kind of the methods in a file; other declarations have none."""
    for folder in FOLDERS["methods"]:
        if folder in (path.parent.name, path.parent.parent.name):
            return _KINDS.get(folder, folder.removesuffix("s"))
    return ""
