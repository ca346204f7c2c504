"""Stops a run cleanly after SIGTERM, SIGHUP or Ctrl-C, or when the parent process has ended.

Nothing heavy is imported here: a worker process watches its parent before it loads anything else.
"""

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from types import FrameType
from typing import Any, cast

AFFECTS_RESULTS = False
WINDOWS = os.name == "nt"
GRACE_SECONDS = 2.0
"""How long a worker that is to stop may go on, unless it is saving the state of its cell."""
RETRY_SECONDS = 0.05
"""After how long a signal that came while a module was being loaded comes again."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGINT") if hasattr(signal, name))


_OF_TERMINAL = {number for number in SIGNALS if number != signal.SIGTERM}
"""What a terminal sends to all processes of a command."""


class Stopped(KeyboardInterrupt):
    """The process was asked to stop."""


class _State:
    signal: int | None = None
    handled: bool = False
    deferred: bool = False
    saving: bool = False
    imports: int = 0
    leave: Callable[[int], None] | None = None


_state = _State()
_temporary: set[str] = set()
"""Files that are of no use without this process."""


def requested() -> int | None:
    """The signal by which this process was asked to stop, or None."""
    return _state.signal


def check() -> None:
    """Raise `Stopped` if the process was asked to stop: an import or a destructor may have swallowed the exception."""
    if _state.signal is not None:
        raise Stopped(_state.signal)


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
def handled(leave: Callable[[int], None] | None = None) -> Generator[None]:
    """Raise `Stopped` for the signals of `SIGNALS` in a main thread; a second one interrupts even what is deferred.

    While a module is being loaded nothing is raised: C++ code of torch's would end the process. `leave`, which a
    command has, ends it there; without it the signal comes again when the module is loaded.

    A signal that is ignored, as SIGHUP under ``nohup``, stays ignored. Inside another `handled` it only checks whether
    a signal has come already.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if _state.handled:
        check()
        yield
        return
    before = {n: signal.getsignal(n) for n in SIGNALS if signal.getsignal(n) is not signal.SIG_IGN}
    _state.signal, _state.handled, _state.leave = None, True, leave
    _state.imports = _imports(cast("Any", sys)._getframe())
    try:
        for number in before:
            signal.signal(number, _interrupt)
        yield
    finally:
        _state.handled, _state.leave = False, None
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def blocked() -> Generator[None]:
    """Keep Ctrl-C and a hang-up from processes that are started inside, for good; here they are late, not lost."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its start would unblock the signals
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _OF_TERMINAL)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _imports(frame: FrameType | None) -> int:
    """How many modules are being loaded where `frame` is."""
    count = 0
    while frame is not None:
        count += frame.f_code.co_filename.startswith("<frozen importlib")
        frame = frame.f_back
    return count


def _importing(frame: FrameType | None) -> bool:
    """Whether a module is being loaded since `handled` began."""
    return _imports(frame) > _state.imports


def _interrupt(number: int, frame: FrameType | None) -> None:
    if _importing(frame):
        if _state.leave is not None:
            _state.leave(number)
        timer = threading.Timer(RETRY_SECONDS, _signal_this_process, (number,))
        timer.daemon = True
        timer.start()
        return
    again, _state.signal = _state.signal is not None, number
    if again or not _state.deferred:
        raise Stopped(number)


def obey_in_worker() -> None:
    """Make this worker process stop within `GRACE_SECONDS` of a SIGTERM or of the death of its parent.

    Ctrl-C and a hang-up reach the whole group of processes; the parent ends its workers, so here they are ignored.
    """
    for number in _OF_TERMINAL:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop_worker)
    threading.Thread(target=_watch_parent, daemon=True).start()


def obey_no_more() -> None:
    """Raise nothing from now on in this worker: its work is over, and nobody is left to catch `Stopped`."""
    _state.deferred = True


def _stop_worker(number: int, frame: FrameType | None) -> None:
    first, _state.signal = _state.signal is None, number
    if first:
        _end_soon()
    if first and not _state.deferred and not _importing(frame):
        raise Stopped(number)


@contextlib.contextmanager
def temporary(path: str) -> Generator[None]:
    """Remove the file `path` afterwards, also where an interrupt comes at that moment or the process leaves at once.

    Example:
        >>> import tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "note")
        >>> with temporary(path):
        ...     open(path, "w").close()
        >>> os.path.exists(path)
        False
    """
    try:
        try:
            _temporary.add(path)
            yield
        finally:
            _remove(path)
    finally:  # once more: an interrupt may have come before the first removal did anything
        _remove(path)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
    _temporary.discard(path)


def clean_up() -> None:
    """Remove the temporary files and sockets of this process; whoever leaves at once calls it.

    Imports nothing: it may be called while a module is being loaded.
    """
    _remove_temporary()
    _remove_sockets()


@atexit.register
def _remove_temporary() -> None:
    for path in list(_temporary):
        _remove(path)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_temporary.clear)


def _remove_sockets() -> None:
    """Remove the folder of multiprocessing's sockets, as Python does at a regular end."""
    module = sys.modules.get("multiprocessing.process")
    folder = module.current_process()._config.get("tempdir") if module is not None else None
    if isinstance(folder, str):
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                os.unlink(os.path.join(folder, name))
            os.rmdir(folder)


def _watch_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    wait([parent.sentinel])
    _end_soon()
    _remove_sockets()  # those of the parent, which may have been killed
    _signal_this_process(signal.SIGTERM)


def _signal_this_process(number: int) -> None:
    """Call this process's handler of a signal; Windows' `os.kill` would end the process without calling it."""
    if WINDOWS:
        signal.raise_signal(number)
    else:
        os.kill(os.getpid(), number)


def _end_soon() -> None:
    timer = threading.Timer(GRACE_SECONDS, _end)
    timer.daemon = True
    timer.start()


def _end() -> None:
    if _state.saving:
        _end_soon()
    else:
        _remove_temporary()  # and no sockets: those that a worker knows of are its parent's, which may go on
        os._exit(128 + signal.SIGTERM)
