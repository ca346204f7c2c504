"""Training losses (objectives), one file per loss."""

from calbench.benchmark.core.discovery import import_declarations

import_declarations(__name__, __path__)
