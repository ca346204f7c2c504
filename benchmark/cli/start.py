"""Where every way of starting the command begins: Ctrl-C is quiet before anything heavy is imported, and at the end."""

import io
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType

INTERRUPTED = 130
_ENCODING = "PYTHONIOENCODING"


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
    _print_any_character()
    from calbench.benchmark.cli.main import main

    status = main(arguments)
    sys.stdout.flush()
    sys.exit(status)


def _print_any_character() -> None:
    """Output that Windows would encode for one language is UTF-8 in a file, and loses single characters elsewhere.

    The tables have arrows and triangles, which no Western European code page knows.
    """
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper) or stream.encoding.lower().replace("-", "") == "utf8":
            continue
        if stream.isatty() or _ENCODING in os.environ:
            stream.reconfigure(errors="replace")
        else:
            stream.reconfigure(encoding="utf-8")


def _leave(number: int, frame: FrameType | None) -> None:
    """Nothing has begun yet, or everything is done and written."""
    stopping = sys.modules.get("calbench.benchmark.core.stopping")
    if stopping is not None and hasattr(stopping, "clean_up"):
        stopping.clean_up()
    os._exit(INTERRUPTED)
