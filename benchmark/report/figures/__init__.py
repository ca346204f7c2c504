"""Figures of results, one module per family; importing the package registers every kind of figure."""

from calbench.benchmark.core.discovery import import_declarations

import_declarations(__name__, __path__)
