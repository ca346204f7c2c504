"""Augmentations that mix training samples, a file each."""

from calbench.benchmark.core.discovery import import_declarations

import_declarations(__name__, __path__)
