"""The command ``calbench``. Exit status: 0 success, 1 a cell failed, 2 bad input, 130 Ctrl-C, 143 SIGTERM."""

import errno
import importlib.metadata
import os
import signal
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from calbench.benchmark.cli import compare as commands_compare
from calbench.benchmark.cli import diagnose as commands_diagnose
from calbench.benchmark.cli import info as commands_info
from calbench.benchmark.cli import predict as commands_predict
from calbench.benchmark.cli import predictions as commands_posthoc
from calbench.benchmark.cli import run as commands_run
from calbench.benchmark.cli import sizes as commands_sizes
from calbench.benchmark.core import stopping
from calbench.benchmark.core.console import Console
from calbench.benchmark.core.errors import InputError

app = typer.Typer(
    name="calbench",
    help="Compare probability-calibration methods for image classifiers under one protocol.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
for part in (
    commands_run,
    commands_predict,
    commands_posthoc,
    commands_sizes,
    commands_compare,
    commands_diagnose,
    commands_info,
):
    app.add_typer(part.app)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"calbench {importlib.metadata.version('calbench')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Compare probability-calibration methods for image classifiers under one protocol."""


_UsageError: Any = typer.BadParameter.__mro__[1]
"""The base of typer's usage errors: click's own class, or the copy of click that newer versions of typer carry."""

INTERRUPTED = 130
STOPPED = "interrupted: what is stored is whole, and the same command does not compute it again"
LONGEST_MESSAGE = 2000
_OS_REASONS = {errno.ENOSPC: "no space left on the disk", errno.EROFS: "the file system is read-only"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    with stopping.handled(_leave):
        return _main(arguments)


@cache
def _command() -> Any:
    return typer.main.get_command(app)


def _leave(number: int) -> None:
    """End the command while it loads a library, as a kill would: every file is whole."""
    os.write(2, f"{STOPPED}\n".encode())
    stopping.clean_up()
    os._exit(128 + number)


def _main(arguments: Sequence[str] | None) -> int:
    console = Console(stderr=True, highlight=False)
    try:
        result = _command()(args=list(arguments) if arguments is not None else None, standalone_mode=False)
        status = result if isinstance(result, int) else 0
    except typer.Exit as stop:
        status = stop.exit_code
    except (typer.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except _UsageError as error:
        error.show()
        return error.exit_code
    except InputError as error:
        console.print(f"calbench: {_bounded(str(error))}", style="red", markup=False, soft_wrap=True)
        return 2
    except OSError as error:
        reason = _OS_REASONS.get(error.errno or 0, error.strerror or str(error))
        name = f": {Path(str(error.filename)).name}" if error.filename else ""
        console.print(f"calbench: {reason}{name}", style="red", markup=False, soft_wrap=True)
        return 2
    except Exception as error:
        if _lacks_memory(error):
            console.print("calbench: not enough memory for this process", style="red", soft_wrap=True)
            return 2
        if stopping.requested() is None:
            raise
        status = INTERRUPTED  # a library that is interrupted while it is imported may raise anything
    if status == INTERRUPTED:  # typer makes an exit of Ctrl-C, its older versions an abort
        console.print(STOPPED)
        return 128 + (stopping.requested() or signal.SIGINT)
    return status


def _bounded(message: str) -> str:
    """A message that does not fill a terminal: it may quote a file."""
    most = LONGEST_MESSAGE
    return message if len(message) <= most else f"{message[:most]}... ({len(message) - most:,} more characters)"


def _lacks_memory(error: Exception) -> bool:
    """Whether memory was refused, or a library could not be loaded for the lack of it."""
    return isinstance(error, MemoryError) or (isinstance(error, ImportError) and "failed to map" in str(error))
