"""Calibrators that read features.

Take one where confidence should depend on more than the logits, for example far from the training data. They need the
network's pooled features in the file, with the logits.
"""

from calbench.benchmark.core.discovery import import_declarations

import_declarations(__name__, __path__)
