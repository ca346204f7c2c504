"""Losses.

Take one where you train the network anyway. They change accuracy as well as confidence, and most are better with a
calibrator after them: compare `focal + temperature-scaling` with `temperature-scaling`, not with `cross-entropy`.
"""

from calbench.benchmark.core.discovery import import_declarations

import_declarations(__name__, __path__)
