"""Time and peak memory of a call, and the registry of groups of measurements."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Measurement:
    """One line of a table.

    Attributes:
        task: what was done; lines of one task are compared with each other.
        who: the library.
        seconds: median over the repeats; NaN where it was not measured.
        best: the least of them.
        extra_mb: peak resident memory above that before the call, in MB; NaN where the system does not say.
        note: what a reader must know, such as why it was skipped.
    """

    task: str
    who: str
    seconds: float
    best: float
    extra_mb: float
    note: str = ""


Group = Callable[[bool, int], Iterator[Measurement]]

GROUPS: dict[str, tuple[str, Group]] = {}
"""Name to title and function; the function gets whether to be quick, and the number of repeats."""


def group(name: str, title: str) -> Callable[[Group], Group]:
    """Return the decorator that declares a group of measurements."""

    def decorate(function: Group) -> Group:
        GROUPS[name] = (title, function)
        return function

    return decorate


def measure(task: str, who: str, call: Callable[[], Any], repeats: int, note: str = "") -> Measurement:
    """Call once for its memory, and `repeats` times for its time.

    A call that fails with an ImportError becomes a line that says so: peers are optional.
    """
    nan = float("nan")
    before = peak_mb(reset=True)
    try:
        call()
    except ImportError as error:
        return Measurement(task, who, nan, nan, nan, f"skipped: {error.name or error} is not installed")
    extra = peak_mb(reset=False) - before
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return Measurement(task, who, statistics.median(seconds), min(seconds), extra, note)


def peak_mb(reset: bool) -> float:
    """The peak resident memory of this process in MB, since the last reset; NaN where it cannot be read."""
    try:
        if reset:
            _RESET.write_text("5")
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return float("nan")
    return int(line.split()[1]) * 1024 / 1e6
