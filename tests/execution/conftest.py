import contextlib
import io
import multiprocessing
from multiprocessing import forkserver

import pytest


@pytest.fixture
def forks():
    """A context of multiprocessing whose processes, and Dask's workers, fork from one that has imported calbench."""
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")
    from calbench.benchmark.execution.worker import PRELOADED

    methods = multiprocessing.get_context("forkserver")
    methods.set_forkserver_preload([*PRELOADED, "distributed"])
    forkserver.ensure_running()
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        yield methods


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory, text_of_tiny):
    """The results folder of the run that the tests of kills end again and again, here to its end; read only."""
    from killing import arguments

    from calbench.benchmark.cli.main import main

    folder = tmp_path_factory.mktemp("undisturbed")
    suite = folder / "tiny.yaml"
    suite.write_text(text_of_tiny)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main(arguments(str(suite), folder / "whole", "--jobs", "1")) == 0
    return folder / "whole"
