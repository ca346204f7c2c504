"""Variants: changes to the prediction of a trained network that need no training; one file per variant.

An entry names them between its recipe and its calibrators: ``cross-entropy + attention-temperature(temperature=1.2) +
temperature-scaling``. Modules that do not start with ``_`` are imported here and register themselves.
"""

from calbench.benchmark.core.discovery import import_declarations
from calbench.benchmark.variants._base import Draw, Forward, Variant, register, registry

__all__ = ["Draw", "Forward", "Variant", "register", "registry"]

import_declarations(__name__, __path__)
