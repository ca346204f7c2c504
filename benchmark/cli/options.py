"""What several commands share: their options, and the terminal that they write to."""

import os
from pathlib import Path
from typing import Annotated

import typer

from calbench.benchmark.core.console import Console

ResultsDir = Annotated[
    str,
    typer.Option("--results-dir", help="Folder (or fsspec address) of cache and tables.", callback=os.path.expanduser),
]
Plugins = Annotated[list[Path], typer.Option("--plugin", help="A Python file that declares methods or datasets.")]
Entries = Annotated[list[str], typer.Option("--entry", help="Take this entry (repeatable) and the baseline alone.")]
Seeds = Annotated[list[int], typer.Option("--seed", help="Take this seed (repeatable) in place of the suite's.")]
Settings = Annotated[list[str], typer.Option("--set", help="Set an option: training.epochs=5.")]
Name = Annotated[str, typer.Option("--name", help="Name of the results; for a part of a suite, SUITE@PART by default.")]
DataDir = Annotated[Path, typer.Option("--data-dir", envvar="CALBENCH_DATA", help="Folder of downloaded datasets.")]
Smoke = Annotated[bool, typer.Option("--smoke", help="The suite's smoke form, in seconds.")]


def wide_console() -> Console:
    """The terminal, or lines wide enough for a table where the output goes into a file."""
    console = Console()
    return console if console.is_terminal else Console(width=160)
