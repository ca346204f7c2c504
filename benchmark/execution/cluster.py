"""The same work on a Dask cluster: dask.distributed places it, tries again and survives lost workers."""

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import Plugin
from calbench.benchmark.execution.local import Event
from calbench.benchmark.execution.plan import Work
from calbench.benchmark.execution.work import Context, Outcome, failed, process
from calbench.benchmark.store.store import Store

CONNECT_SECONDS = "10s"
RETRIES = 3
"""How often Dask starts a cell again whose worker was lost."""


def work_remotely(plugins: tuple[Path, ...], payload: bytes) -> Outcome:
    """What a Dask worker does for one cell.

    The work travels as bytes, since plug-ins must be loaded before it can be read; the bytes come from our own
    scheduler and from nowhere else.
    """
    for plugin in plugins:
        Plugin.load(plugin)
    work, context = pickle.loads(payload)
    return process(work, Store(context.results_dir), context, lambda *epoch: None)


def run_dask(
    works: Iterable[Work], context: Context, event: Event, scheduler: str, options_file: Path | None = None
) -> None:
    """Do the work on the cluster at `scheduler` (``tcp://host:8786``), or on one that ``slurm`` starts.

    Workers need the same code, and the results folder under the same address; a cell that wants a GPU asks for the
    Dask resource ``GPU`` where the device is ``cuda``.

    Raises:
        InputError: the extra ``dask`` is not installed, no scheduler answers, or the options cannot be read.
    """
    try:
        from distributed import as_completed
    except ImportError:
        raise InputError("--scheduler needs the extra: pip install 'calbench[dask]'") from None
    with _client(scheduler, options_file) as client:
        submit = _Submitter(client, context)
        futures = {submit(work): work for work in works}
        queue = as_completed(futures)
        for future in queue:
            work = futures[future]
            if future.status in ("cancelled", "lost"):
                raise InputError("the Dask scheduler is gone: what was finished stays, and the same command goes on")
            outcome: Outcome = (
                future.result()
                if future.status == "finished"
                else failed(work, Store(context.results_dir), future.exception())
            )
            if outcome == "busy":
                again = submit(work)
                futures[again] = work
                queue.add(again)
                continue
            event(work, "end", outcome)


class _Submitter:
    def __init__(self, client: Any, context: Context) -> None:
        self.client = client
        self.context = context
        self.resources = {"GPU": 1} if context.device == "cuda" else None

    def __call__(self, work: Work) -> Any:
        payload = pickle.dumps((work, self.context))
        return self.client.submit(
            work_remotely, self.context.plugins, payload, pure=False, retries=RETRIES, resources=self.resources
        )


def _client(scheduler: str, options_file: Path | None) -> Any:
    from distributed import Client

    if scheduler == "slurm":
        return Client(_slurm(options_file))
    try:
        return Client(scheduler, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(f"--scheduler {scheduler}: no Dask scheduler answers: {error}") from error


def _slurm(options_file: Path | None) -> Any:
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise InputError("--scheduler slurm needs the extra: pip install 'calbench[dask]'") from None
    try:
        options = yaml.safe_load(options_file.read_text("utf-8")) if options_file else {}
    except (OSError, yaml.YAMLError) as error:
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
