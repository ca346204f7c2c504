"""``python -m calbench`` is the command ``calbench``."""

from calbench.benchmark.cli.main import entry_point

entry_point()
