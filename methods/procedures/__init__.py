"""Procedures.

They change how weights are updated or averaged, with any loss. Take one where you train the network and can afford more
forward passes; compare with the same loss without it.
"""

from calbench.benchmark.core.discovery import import_declarations

import_declarations(__name__, __path__)
