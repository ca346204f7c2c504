"""The registry of datasets, one file per family; all modules of this folder are imported here."""

from calbench.benchmark.core.discovery import import_declarations
from calbench.datasets._split import stratified_split, stratified_subset
from calbench.datasets.base import Dataset, Split, Splits, register, registry

__all__ = ["Dataset", "Split", "Splits", "register", "registry", "stratified_split", "stratified_subset"]

import_declarations(__name__, __path__)
