"""Stops a run cleanly after SIGTERM, SIGHUP or Ctrl-C, or when the parent process has ended.

Nothing heavy is imported here: a worker process watches its parent before it loads anything else.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Generator
from multiprocessing.connection import wait
from types import FrameType

AFFECTS_RESULTS = False
GRACE_SECONDS = 2.0
"""How long a worker that is to stop may go on, unless it is saving the state of its cell."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """The process was asked to stop."""


class _State:
    signal: int | None = None
    deferred: bool = False
    saving: bool = False


_state = _State()


def requested() -> int | None:
    """The signal by which this process was asked to stop, or None."""
    return _state.signal


@contextlib.contextmanager
def deferred() -> Generator[None]:
    """Do not interrupt what is inside: it asks `requested` at good moments, and raises `Stopped` itself."""
    before, _state.deferred = _state.deferred, True
    try:
        yield
    finally:
        _state.deferred = before


@contextlib.contextmanager
def saving() -> Generator[None]:
    """Let what is inside come to its end, however long it takes."""
    _state.saving = True
    try:
        yield
    finally:
        _state.saving = False


@contextlib.contextmanager
def handled() -> Generator[None]:
    """Raise `Stopped` for the signals of `SIGNALS` in a main thread; a second one interrupts even what is deferred."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _interrupt) for number in SIGNALS}
    _state.signal = None
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    again, _state.signal = _state.signal is not None, number
    if again or not _state.deferred:
        raise Stopped(number)


def obey_in_worker() -> None:
    """Make this worker process stop within `GRACE_SECONDS` of a SIGTERM or of the death of its parent.

    Ctrl-C reaches the whole group of processes; the parent ends its workers, so here it is ignored.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop_worker)
    threading.Thread(target=_watch_parent, daemon=True).start()


def obey_no_more() -> None:
    """Raise nothing from now on in this worker: its work is over, and nobody is left to catch `Stopped`."""
    _state.deferred = True


def _stop_worker(number: int, frame: FrameType | None) -> None:
    first, _state.signal = _state.signal is None, number
    if first:
        _end_soon()
    if first and not _state.deferred:
        raise Stopped(number)


def _watch_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    _end_soon()
    os.kill(os.getpid(), signal.SIGTERM)


def _end_soon() -> None:
    timer = threading.Timer(GRACE_SECONDS, _end)
    timer.daemon = True
    timer.start()


def _end() -> None:
    if _state.saving:
        _end_soon()
    else:
        os._exit(128 + signal.SIGTERM)
