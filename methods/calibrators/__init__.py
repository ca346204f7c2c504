"""Post-hoc calibrators: one file per method, one folder per family.

The docstring of a family's package is what its documentation says of it.
"""

from calbench.benchmark.core.discovery import import_declarations

import_declarations(__name__, __path__)
