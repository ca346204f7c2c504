"""A worker process: it ends with its parent process, and does the work that it receives."""

import pickle
from multiprocessing.connection import Connection

from calbench.benchmark.core import stopping

AFFECTS_RESULTS = False
PRELOADED = ("calbench.benchmark.execution.work", "calbench.benchmark.training.trainer")
"""What all workers import, the second for their first cell; once for all where processes are forked from a server."""


def start(connection: Connection, context: bytes, index: int) -> None:
    """Receive work, do it and report, until the connection closes or the process is to stop.

    Args:
        connection: to the parent.
        context: the pickled `Context`, from our own parent.
        index: the number of the worker; with several GPUs it says which one.
    """
    try:
        try:
            stopping.obey_in_worker()
            _work(connection, context, index)
        finally:
            stopping.obey_no_more()
    except stopping.Stopped:
        return


def _work(connection: Connection, context: bytes, index: int) -> None:
    import torch

    from calbench.benchmark.core.registry import Plugin
    from calbench.benchmark.execution.work import process
    from calbench.benchmark.store.store import Store

    loaded = pickle.loads(context)
    for plugin in loaded.plugins:
        Plugin.load(plugin)
    if torch.cuda.is_available():
        torch.cuda.set_device(index % torch.cuda.device_count())

    def report(*epoch: int) -> None:
        try:
            connection.send(("epoch", epoch))
        except OSError:  # the parent is gone
            raise stopping.Stopped from None

    store = Store(loaded.results_dir)
    while True:
        try:
            work = connection.recv()
            try:
                outcome = process(work, store, loaded, report)
            except OSError as error:  # of the disk: it ends the whole run
                connection.send(("stop", error))
                return
            connection.send(("end", outcome))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
