"""Imports every module of a package, so that a registered class needs no entry in any list."""

import importlib
import pkgutil
from collections.abc import Iterable

AFFECTS_RESULTS = False


def import_declarations(package: str, path: Iterable[str]) -> None:
    """Import the modules and sub-packages of `package`, except those whose name starts with an underscore."""
    for module in pkgutil.iter_modules(path):
        if not module.name.startswith("_"):
            importlib.import_module(f"{package}.{module.name}")
