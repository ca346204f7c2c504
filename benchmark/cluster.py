"""The same work on a Dask cluster: dask.distributed places it, tries again and survives lost workers."""

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from .errors import InputError
from .execution import Event
from .plan import Work
from .registry import Plugin
from .store import Store
from .work import Context, Outcome, failure_record, process

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
            outcome: Outcome = "failed"
            if future.status == "finished":
                outcome = future.result()
            else:
                error = future.exception()
                Store(context.results_dir).write_failure(work.cell.key, failure_record(work, error))
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
    from dask_jobqueue import SLURMCluster

    try:
        options = yaml.safe_load(options_file.read_text("utf-8")) if options_file else {}
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"--slurm-options: {error}") from error
    jobs = options.pop("jobs", 1)
    cluster = SLURMCluster(**options)
    cluster.scale(jobs=jobs)
    return cluster
