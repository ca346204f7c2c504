"""Options shared by several commands, and the terminal that they write to."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from calbench.benchmark.core.console import Console

ResultsDir = Annotated[
    str,
    typer.Option("--results-dir", help="Folder (or fsspec address) of cache and tables.", callback=os.path.expanduser),
]
Plugins = Annotated[list[Path], typer.Option("--plugin", help="A Python file that declares methods or datasets.")]
Entries = Annotated[list[str], typer.Option("--entry", help="Run only this entry (repeatable) and the baseline.")]
Seeds = Annotated[list[int], typer.Option("--seed", help="Use this seed (repeatable) instead of the suite's.")]
Settings = Annotated[list[str], typer.Option("--set", help="Set an option: training.epochs=5.")]
Name = Annotated[str, typer.Option("--name", help="Name of the results; for a part of a suite, SUITE@PART by default.")]
DataDir = Annotated[Path, typer.Option("--data-dir", envvar="CALBENCH_DATA", help="Folder of downloaded datasets.")]
Smoke = Annotated[bool, typer.Option("--smoke", help="Run the suite's smoke test, in seconds.")]
NONE: list[Any] = []
"""The default of options that may be repeated; it must not be changed."""


def wide_console() -> Console:
    """The terminal, or lines wide enough for a table where the output goes into a file."""
    console = Console()
    return console if console.is_terminal else Console(width=160)
