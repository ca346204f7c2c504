"""Runs work in this process, or in local worker processes that share the cores."""

import multiprocessing
import os
import pickle
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from multiprocessing.util import get_temp_dir
from typing import Any, cast

import joblib

from calbench.benchmark.core import stopping
from calbench.benchmark.execution.plan import Work
from calbench.benchmark.execution.produce import Context
from calbench.benchmark.execution.work import failed, process
from calbench.benchmark.execution.worker import PRELOADED, start
from calbench.benchmark.store.store import Store

Event = Callable[[Work, str, Any], None]
"""Called with the work, ``"epoch"``, ``"busy"`` or ``"end"``, and (epoch, epochs), who is at it, or the outcome."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
BUSY_PAUSE = 0.5
"""Seconds after which a cell that another process is at is tried again."""
STOP_SECONDS = 60
"""How long a worker may take to save the state of its cell; one that saves nothing ends by itself long before."""
ATTEMPTS = 2
"""How often a cell is started whose worker dies, before it counts as failed."""


def default_jobs() -> int:
    """One job per GPU, else one per core: cells compute with one thread unless their suite says otherwise."""
    import torch

    return torch.cuda.device_count() or joblib.cpu_count()


def run_serial(works: Iterable[Work], context: Context, event: Event) -> None:
    """Do the work here, one piece after the other."""
    store, queue = Store(context.results_dir), deque(works)
    while queue:
        stopping.check()
        work = queue.popleft()
        outcome = process(work, store, context, lambda *epoch, w=work: event(w, "epoch", epoch))
        if outcome == "busy":
            queue.append(work)
            event(work, "busy", store.holder(work.cell.key))
            time.sleep(BUSY_PAUSE)
            continue
        event(work, "end", outcome)


def run_processes(works: Iterable[Work], context: Context, event: Event, jobs: int) -> None:
    """Do the work in `jobs` worker processes; a worker that dies is replaced and its cell tried once more."""
    pool = _Pool(deque(works), context, event, jobs)
    try:
        pool.run()
    finally:
        pool.close()


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    index: int
    work: Work | None = None


@dataclass
class _Pool:
    queue: deque[Work]
    context: Context
    event: Event
    jobs: int
    workers: list[_Worker] = field(default_factory=list)
    busy: deque[tuple[float, Work]] = field(default_factory=deque)
    """Cells that another process is at, each with the time from which it is tried again."""
    deaths: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        jobs = min(self.jobs, len(self.queue))
        self.workers = [start_worker(self.context, index) for index in range(jobs)]
        while self.queue or self.busy or any(worker.work for worker in self.workers):
            stopping.check()
            self._hand_out()
            ready = wait([worker.connection for worker in self.workers], timeout=BUSY_PAUSE)
            for worker in [worker for worker in self.workers if worker.connection in ready]:
                self._listen(worker)

    def close(self) -> None:
        store = Store(self.context.results_dir)
        for worker in self.workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(timeout=STOP_SECONDS)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            if worker.work is not None:
                _sweep(worker.work, store)

    def _hand_out(self) -> None:
        while self.busy and self.busy[0][0] <= time.monotonic():
            self.queue.append(self.busy.popleft()[1])
        for worker in self.workers:
            if worker.work is None and self.queue:
                worker.work = self.queue.popleft()
                try:
                    worker.connection.send(worker.work)
                except (BrokenPipeError, ConnectionResetError):
                    self._replace(worker)

    def _listen(self, worker: _Worker) -> None:
        try:
            kind, value = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._replace(worker)
            return
        if kind == "stop":
            raise value
        work = cast("Work", worker.work)  # a worker writes while it works
        if kind == "end":
            worker.work = None
            if value == "busy":
                self.busy.append((time.monotonic() + BUSY_PAUSE, work))
                self.event(work, "busy", Store(self.context.results_dir).holder(work.cell.key))
                return
        self.event(work, kind, value)

    def _replace(self, worker: _Worker) -> None:
        worker.connection.close()
        worker.process.join(timeout=5)
        work, worker.work = worker.work, None
        self.workers[self.workers.index(worker)] = start_worker(self.context, worker.index)
        if work is None:
            return
        key = work.cell.key
        self.deaths[key] = self.deaths.get(key, 0) + 1
        if self.deaths[key] < ATTEMPTS:
            self.queue.appendleft(work)
            return
        error = RuntimeError(f"the worker process died {ATTEMPTS} times ({_cause(worker.process.exitcode)})")
        self.event(work, "end", failed(work, Store(self.context.results_dir), error))


def _sweep(work: Work, store: Store) -> None:
    """Remove what a worker that was ended in the middle of a write has left, unless another run has the cell by now."""
    with store.lock(work.cell.key) as held:
        if held:
            store.sweep(work.cell.key)


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        name = signal.Signals(-exitcode).name
        return f"killed by {name}" + (", out of memory perhaps" if name == "SIGKILL" else "")
    return f"exit code {exitcode}"


def start_worker(context: Context, index: int) -> _Worker:
    """Start one worker process, with GPU `index` if the machine has GPUs.

    Where the system can fork, a server process imports what all workers need once, and each worker starts in a moment.
    """
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    methods = multiprocessing.get_context("forkserver") if forks else multiprocessing.get_context("spawn")
    if forks:
        methods.set_forkserver_preload(list(PRELOADED))
    ours, theirs = methods.Pipe()
    # Numerical libraries read these when they start, so the child must inherit them; see `TrainingConfig.threads`.
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    for name in THREAD_VARIABLES:
        os.environ[name] = "1"
    try:
        get_temp_dir()  # made before the process, which learns of it so
        child = methods.Process(target=start, args=(theirs, pickle.dumps(context), index))
        with stopping.blocked():
            child.start()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    theirs.close()
    return _Worker(child, ours, index)
