"""Runs of the tests of kills: started with a mark in their environment, by which all their processes are found."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from calbench.benchmark.store.store import Store

SETTINGS = ["--set", "training.save_seconds=0", "--set", "protocol.bootstrap=20"]
MARK = "CALBENCH_TEST_OF_KILLS"


def alive(mark):
    """The processes whose environment has the mark: a run and all that it started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and folder.name != str(os.getpid()):
            with contextlib.suppress(OSError):
                zombie = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
                if not zombie and f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found


def start(suite, results, mark, *options, errors=subprocess.DEVNULL, temporary=None, epochs=30):
    """``calbench run`` in a session of its own; `temporary` is its temporary folder."""
    options = ["--results-dir", str(results), *SETTINGS, "--set", f"training.epochs={epochs}", *options]
    command = [sys.executable, "-m", "calbench", "run", suite, *options]
    output = {"stdout": subprocess.DEVNULL, "stderr": errors}
    return subprocess.Popen(command, env=environment(mark, temporary), start_new_session=True, **output)


def environment(mark, temporary=None):
    return os.environ | {MARK: mark} | ({"TMPDIR": str(temporary)} if temporary else {})


def left_in(temporary):
    """What runs left in their temporary folder, apart from what torch's compiler and Dask's workers keep there."""
    return [name for name in os.listdir(temporary) if not name.startswith(("torchinductor_", "dask-scratch-space"))]


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


@contextlib.contextmanager
def nothing_left():
    """A temporary folder for runs; at the end nothing is in it, and nothing new of ours in shared memory."""
    with tempfile.TemporaryDirectory(prefix="k") as folder:  # short: sockets may have paths of 108 characters
        before = left_in_shared_memory()
        yield folder
        assert left_in(folder) == [], left_in(folder)
        assert wait_for(lambda: left_in_shared_memory() <= before, 10)


def left_in_shared_memory():
    """What no living process has mapped; a process that uses shared memory may have another owner than this test."""
    used = "\n".join(_maps(folder) for folder in Path("/proc").iterdir() if folder.name.isdigit())
    return {path.name for path in Path("/dev/shm").glob("*") if str(path) not in used}


def _maps(folder):
    try:
        return (folder / "maps").read_text()
    except OSError:  # it has ended, or belongs to somebody else
        return ""


def catches(process, number):
    """Whether a process has a handler for a signal: for SIGTERM, Python alone has none, so calbench has started."""
    status = Path(f"/proc/{process}/status").read_text()
    return bool(int(re.search(r"SigCgt:\s*([0-9a-f]+)", status)[1], 16) >> (number - 1) & 1)


def locks_are_free(results):
    store = Store(results)
    for key in store.cells():
        with store.lock(key) as taken:
            assert taken, "a lock was kept"


def same_predictions(first, second):
    stores = Store(first), Store(second)
    assert stores[0].cells() == stores[1].cells()
    for key in stores[0].cells():
        one, two = (store.predictions(key) for store in stores)
        assert all(torch.equal(part.logits, two[address].logits) for address, part in one.splits.items())
    locks_are_free(second)
    assert stores[1].verify() == []


def same_tables(first, second):
    """The tables of two results folders with one run each, apart from notes of time."""
    names = ("results.csv", "comparisons.csv", "diagrams.json", "curves.json")
    for name in names:
        [one], [two] = (list(Path(folder).glob(f"*/{name}")) for folder in (first, second))
        assert one.read_bytes() == two.read_bytes(), name
