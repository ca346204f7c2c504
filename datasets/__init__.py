"""The registry of datasets, a file each; every module of this folder is imported here."""

import importlib
import pkgutil

from .base import Dataset, Split, Splits, register, registry
from .split import stratified_split

__all__ = ["Dataset", "Split", "Splits", "register", "registry", "stratified_split"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
