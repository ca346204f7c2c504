"""Where work runs: in this process, or in worker processes that share the cores."""

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import joblib

from calbench.benchmark.core.registry import Plugin
from calbench.benchmark.execution.plan import Work
from calbench.benchmark.execution.work import Context, Outcome, failed, process
from calbench.benchmark.store.store import Store

Event = Callable[[Work, str, Any], None]
"""Called with the work, ``"epoch"`` or ``"end"``, and (epoch, epochs) or the outcome."""

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
BUSY_PAUSE = 0.5
ATTEMPTS = 2
"""How often a cell is started whose worker dies, before it counts as failed."""


def default_jobs() -> int:
    """One job a GPU, else one a core: the small models that train on a CPU do not gain from more threads."""
    import torch

    return torch.cuda.device_count() or joblib.cpu_count()


def run_serial(works: Iterable[Work], context: Context, event: Event) -> None:
    """Do the work here, one piece after the other."""
    store, queue = Store(context.results_dir), deque(works)
    while queue:
        work = queue.popleft()
        outcome = process(work, store, context, lambda *epoch, w=work: event(w, "epoch", epoch))
        if outcome == "busy":
            queue.append(work)
            time.sleep(BUSY_PAUSE)
            continue
        event(work, "end", outcome)


def run_processes(works: Iterable[Work], context: Context, event: Event, jobs: int) -> None:
    """Do the work in `jobs` worker processes; a worker that dies is replaced and its cell tried once more."""
    threads = max(1, joblib.cpu_count() // max(1, jobs))
    pool = _Pool(deque(works), context, event, jobs, threads)
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
    threads: int
    workers: list[_Worker] = field(default_factory=list)
    deaths: dict[str, int] = field(default_factory=dict)

    def run(self) -> None:
        jobs = min(self.jobs, len(self.queue))
        self.workers = [start_worker(self.context, index, self.threads) for index in range(jobs)]
        while self.queue or any(worker.work for worker in self.workers):
            self._hand_out()
            channels = {worker.connection: worker for worker in self.workers}
            for channel in wait(list(channels), timeout=BUSY_PAUSE):
                self._listen(channels[channel])

    def close(self) -> None:
        store = Store(self.context.results_dir)
        for worker in self.workers:
            worker.connection.close()
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join(timeout=5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
            if worker.work is not None:
                _sweep(worker.work, store)

    def _hand_out(self) -> None:
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
        work = worker.work
        if kind == "end":
            worker.work = None
            if value == "busy":
                self.queue.append(work)
                return
        self.event(work, kind, value)

    def _replace(self, worker: _Worker) -> None:
        worker.process.join(timeout=5)
        work, worker.work = worker.work, None
        self.workers[self.workers.index(worker)] = start_worker(self.context, worker.index, self.threads)
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


def start_worker(context: Context, index: int, threads: int) -> _Worker:
    """Start one worker process with `threads` threads, and GPU `index` where there are GPUs."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    # Numerical libraries read these when they start, so the child must inherit them.
    changes = dict.fromkeys(THREAD_VARIABLES, str(threads))
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        child = spawn.Process(target=work_loop, args=(theirs, context, index), daemon=True)
        child.start()
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    theirs.close()
    return _Worker(child, ours, index)


def work_loop(connection: Connection, context: Context, index: int) -> None:
    """What a worker process does: receive work, do it, report, until the connection closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends the workers
    import torch

    for plugin in context.plugins:
        Plugin.load(plugin)
    if torch.cuda.is_available():
        torch.cuda.set_device(index % torch.cuda.device_count())

    def report(*epoch: int) -> None:
        try:
            connection.send(("epoch", epoch))
        except OSError:  # the parent is gone: nobody waits for this cell, and its saved state is on disk
            raise SystemExit(1) from None

    store = Store(context.results_dir)
    while True:
        try:
            work: Work = connection.recv()
            try:
                outcome: Outcome = process(work, store, context, report)
            except OSError as error:  # of the disk: it ends the whole run
                connection.send(("stop", error))
                return
            connection.send(("end", outcome))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
