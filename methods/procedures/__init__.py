"""Procedures that change how the weights are updated or averaged, one file per method."""

from calbench.benchmark.core.discovery import import_declarations

import_declarations(__name__, __path__)
