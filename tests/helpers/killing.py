"""Runs of the tests of kills: each in a session of its own with a mark in its environment, to find its processes by."""

import atexit
import contextlib
import importlib
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import multiprocessing.util
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch

from calbench.benchmark.store.store import Store

SETTINGS = ["--set", "training.save_seconds=0", "--set", "protocol.bootstrap=20"]
MARK = "CALBENCH_TEST_OF_KILLS"


EPOCHS = 16


def alive(mark, session=None):
    """The processes of the session, or whose environment has the mark: a run and all that it started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and folder.name != str(os.getpid()):
            with contextlib.suppress(OSError):
                state, _, _, theirs = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                marked = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
                if state != "Z" and (marked or int(theirs) == session):
                    found.append(int(folder.name))
    return found


def arguments(suite, results, *options):
    """Those of ``calbench run`` for the runs that are ended, and for the undisturbed one they are compared with."""
    return ["run", suite, "--results-dir", str(results), *SETTINGS, "--set", f"training.epochs={EPOCHS}", *options]


def start(suite, results, mark, *options, errors=None, temporary=None):
    """``calbench run`` in a new process and session; `errors` is an open file, `temporary` its temporary folder."""
    command = [sys.executable, "-m", "calbench", *arguments(suite, results, *options)]
    output = {"stdout": subprocess.DEVNULL, "stderr": errors or subprocess.DEVNULL}
    return subprocess.Popen(command, env=environment(mark, temporary), start_new_session=True, **output)


def fork(suite, results, mark, *options, errors=None, temporary=None):
    """As `start`, in a fork of this process."""
    return fork_command(arguments(suite, results, *options), mark, errors, temporary)


def fork_command(words, mark, errors=None, temporary=None):
    """``calbench`` in a fork of this process and a new session: what it imports, for seconds, is imported already."""
    began, begins = os.pipe()
    child = os.fork()
    if child:
        os.close(begins)
        os.read(began, 1)  # until the child has its session
        os.close(began)
        return Forked(child)
    status = 1
    try:
        _begin_anew(mark, errors, temporary)
        os.write(begins, b"1")
        from calbench.benchmark.cli.start import start

        start(words)
    except SystemExit as end:
        status = end.code
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(status)


def _begin_anew(mark, errors, temporary):
    """Leave behind what this process has of its parent: session, output, signals, what to do at the end, helpers."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    os.dup2(errors.fileno() if errors else 1, 2)
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", closefd=False)
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
        signal.signal(number, handler)
    atexit._clear()
    multiprocessing.util._finalizer_registry.clear()
    atexit.register(multiprocessing.util._exit_function)
    multiprocessing.process._children.clear()
    multiprocessing.forkserver._forkserver.__init__()
    multiprocessing.resource_tracker._resource_tracker.__init__()
    multiprocessing.process.current_process()._config.pop("tempdir", None)
    os.environ.update(environment(mark, temporary))
    tempfile.tempdir = None


def dask_process(methods, name, *options):
    """One of the commands of ``distributed.cli`` in a process of a context of multiprocessing."""
    process = methods.Process(target=_dask_command, args=(name, [str(option) for option in options]))
    process.start()
    return process


def _dask_command(name, options):
    importlib.import_module(f"distributed.cli.{name}").main(options)


class Forked:
    """What the tests use of a `subprocess.Popen`."""

    def __init__(self, pid):
        self.pid, self.status = pid, None

    def poll(self):
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status

    def wait(self, seconds):
        assert wait_for(lambda: self.poll() is not None, seconds), "the run does not end"
        return self.status

    def send_signal(self, number):
        os.kill(self.pid, number)


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
        time.sleep(0.02)
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
