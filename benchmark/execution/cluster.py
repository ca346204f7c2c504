"""Runs work on a Dask cluster; dask.distributed schedules it, retries and handles lost workers."""

import contextlib
import hashlib
import logging
import pickle
import threading
import time
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import Any

from calbench.benchmark.core import environment
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.hashing import digest
from calbench.benchmark.core.plain_yaml import read_yaml
from calbench.benchmark.core.registry import Plugin
from calbench.benchmark.execution.local import BUSY_PAUSE, Event
from calbench.benchmark.execution.plan import Work
from calbench.benchmark.execution.produce import Context
from calbench.benchmark.execution.work import Outcome, failed, process
from calbench.benchmark.store.store import Store

CONNECT_SECONDS = "10s"
LONGEST_PAUSE = 10.0
"""Seconds between two looks at a cell that another process is at."""
_one_cell = threading.Lock()
"""Dask's workers have several threads by default, and torch's random numbers belong to the whole process."""
RETRIES = 3
"""How often Dask starts a cell again whose worker was lost."""


class OtherCodeError(InputError):
    """A Dask worker whose code is not that of the run."""


def code_of(plugins: tuple[Path, ...]) -> str:
    """A hash of calbench's source and of the files of plug-ins, as this machine has them."""
    files = [hashlib.sha256(path.expanduser().read_bytes()).hexdigest() for path in plugins]
    return digest([environment.code_digest(), files])


def work_remotely(plugins: tuple[Path, ...], payload: bytes, code: str, pause: float = 0.0) -> Outcome:
    """What a Dask worker does for one cell.

    The work travels as bytes, since plug-ins must be loaded before it can be read; the bytes come from our own
    scheduler and from nowhere else.

    Args:
        plugins: files of declarations, at the same paths on every machine.
        payload: the pickled work and context.
        code: what `code_of` gives where the run was started.
        pause: seconds to wait first, for a cell that another process was at.

    Raises:
        OtherCodeError: this worker's code differs; its results would be stored under the keys of another.
    """
    if code_of(plugins) != code:
        raise OtherCodeError(
            "a Dask worker has other code (calbench, or a plug-in) than this machine: install the same version on all "
            "workers and start them again"
        )
    time.sleep(pause)
    for plugin in plugins:
        Plugin.load(plugin)
    work, context = pickle.loads(payload)
    with _one_cell:
        return process(work, Store(context.results_dir), context, lambda *epoch: None)


def run_dask(
    works: Iterable[Work], context: Context, event: Event, scheduler: str, options_file: Path | None = None
) -> None:
    """Do the work on the cluster at `scheduler` (``tcp://host:8786``), or on one that ``slurm`` starts.

    Workers need the same code, and the results folder under the same address; a cell that wants a GPU asks for the
    Dask resource ``GPU`` where the device is ``cuda``.

    Raises:
        InputError: the extra ``dask`` is not installed, no scheduler answers, the options cannot be read, or a worker
            has other code.
    """
    try:
        from distributed import as_completed
    except ImportError:
        raise InputError("--scheduler needs the extra: pip install 'calbench[dask]'") from None
    warn_of_plain_text(scheduler)
    with _quiet(), _client(scheduler, options_file) as client:
        submit = _Submitter(client, context)
        futures = {submit(work): work for work in works}
        queue = as_completed(futures)
        for future in queue:
            work = futures.pop(future)  # the scheduler forgets a future without references
            if future.status in ("cancelled", "lost"):
                raise InputError("the Dask scheduler is gone: what was finished stays, and the same command goes on")
            outcome = _outcome(future, work, context)
            if outcome == "busy":
                event(work, "busy", Store(context.results_dir).holder(work.cell.key))
                again = submit(work, busy=True)
                futures[again] = work
                queue.add(again)
                continue
            event(work, "end", outcome)


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Keep the tracebacks that Dask's client logs of a lost scheduler from the terminal: the run says it in a line."""
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] == "distributed"]
    levels = {logger: logger.level for logger in map(logging.getLogger, names)}
    try:
        for logger in levels:
            logger.setLevel(logging.CRITICAL)
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)


def _outcome(future: Any, work: Work, context: Context) -> Outcome:
    if future.status == "finished":
        return future.result()
    error = future.exception()
    if isinstance(error, OtherCodeError):
        raise InputError(str(error)) from None
    return failed(work, Store(context.results_dir), error)


def warn_of_plain_text(scheduler: str) -> None:
    """Warn where work would go over a network unencrypted: whoever can reach the scheduler can run code on workers."""
    protocol, _, rest = scheduler.partition("://")
    host = rest.rpartition(":")[0].strip("[]")
    if protocol in ("tcp", "ws", "ucx") and host not in ("localhost", "::1", "") and not host.startswith("127."):
        message = "--scheduler %s: not encrypted, and open to everybody who reaches it; see docs/scale.md for tls://"
        logging.getLogger("calbench").warning(message, scheduler)


class _Submitter:
    def __init__(self, client: Any, context: Context) -> None:
        self.client = client
        self.context = context
        self.resources = {"GPU": 1} if context.device == "cuda" else None
        self.code = code_of(context.plugins)
        self.pauses: dict[str, float] = {}

    def __call__(self, work: Work, busy: bool = False) -> Any:
        """Submit a cell; one that another process is at comes after all others, with a pause that grows."""
        pause = 0.0
        if busy:
            pause = self.pauses[work.cell.key] = min(2 * self.pauses.get(work.cell.key, BUSY_PAUSE), LONGEST_PAUSE)
        payload = pickle.dumps((work, self.context))
        return self.client.submit(
            work_remotely,
            self.context.plugins,
            payload,
            self.code,
            pause,
            pure=False,
            retries=RETRIES,
            resources=self.resources,
            priority=-1 if busy else 0,
        )


@contextlib.contextmanager
def _client(scheduler: str, options_file: Path | None) -> Generator[Any]:
    """A client of the cluster; the jobs of one that was started here end with it."""
    from distributed import Client

    if scheduler == "slurm":
        with _slurm(options_file) as cluster, Client(cluster) as client:
            yield client
        return
    with _connected(scheduler) as client:
        yield client


def _connected(scheduler: str) -> Any:
    from distributed import Client

    try:
        return Client(scheduler, timeout=CONNECT_SECONDS)
    except TypeError as error:
        raise InputError(
            f"--scheduler {scheduler}: needs the certificates of docs/scale.md in DASK_DISTRIBUTED__COMM__TLS__CA_FILE "
            "and the like"
        ) from error
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(f"--scheduler {scheduler}: no Dask scheduler answers: {error}") from error


def _slurm(options_file: Path | None) -> Any:
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise InputError("--scheduler slurm needs the extra: pip install 'calbench[dask]'") from None
    try:
        options = read_yaml(options_file.read_text("utf-8")) if options_file else {}
    except (OSError, ValueError) as error:
        raise InputError(f"--slurm-options: {error}") from error
    if not isinstance(options, dict):
        raise InputError(f"--slurm-options: expected options by name, got {type(options).__name__}")
    jobs = options.pop("jobs", 1)
    try:
        cluster = SLURMCluster(**options)
    except (TypeError, ValueError) as error:
        raise InputError(f"--slurm-options: dask-jobqueue refuses them: {error}") from error
    cluster.scale(jobs=jobs)
    return cluster
