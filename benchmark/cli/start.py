"""Where every way of starting the command begins: Ctrl-C is quiet before anything heavy is imported, and at the end."""

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

INTERRUPTED = 130


def entry_point() -> None:
    """The console script."""
    start()


def start(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status; Ctrl-C prints no traceback at any moment.

    Args:
        arguments: those of the command line; by default the process's own.
    """
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _leave)
    from calbench.benchmark.cli.main import main

    status = main(arguments)
    sys.stdout.flush()
    sys.exit(status)


def _leave(number: int, frame: FrameType | None) -> None:
    """Nothing has begun yet, or everything is done and written."""
    os._exit(INTERRUPTED)
