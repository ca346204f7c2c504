"""``python -m calbench`` is the command ``calbench``."""

from calbench.benchmark.cli.start import entry_point

if __name__ == "__main__":
    entry_point()
