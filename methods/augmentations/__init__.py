"""Augmentations that mix training samples, one file per method."""

from calbench.benchmark.core.discovery import import_declarations

import_declarations(__name__, __path__)
