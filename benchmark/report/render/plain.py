"""A table as plain text, as the terminal shows it but without colour and bold: for `repr`."""

import io

from rich.console import Console

from calbench.benchmark.report.render.terminal import terminal_table
from calbench.benchmark.report.tables.table import Table

WIDTH = 120
"""Characters of a line."""


def plain_table(table: Table, width: int = WIDTH) -> str:
    """The table as lines of at most `width` characters; columns that do not fit are named below it."""
    text = io.StringIO()
    console = Console(file=text, width=width, color_system=None, highlight=False, legacy_windows=False)
    console.print(terminal_table(table))
    return "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())
