"""Heads.

Trained with the backbone. Take one to study temperatures that depend on the input; compare with the same loss without
the head, and with temperature scaling.
"""

from calbench.benchmark.core.discovery import import_declarations

import_declarations(__name__, __path__)
