"""What the tests of the engine share: a suite of one tiny backbone that trains in a second."""

import atexit
import contextlib
import functools
import gc
import io
import os
import shutil
import signal
import sys

# Many small models: threads only get in each other's way, and pytest-xdist already uses every core.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

# Imports of what loads torch are in the fixtures: the process that hands tests to workers needs none of it.

# A shell ignores signals for what it starts in the background, and processes inherit that; tests send them.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

TINY = """\
title: Tiny
datasets: [digits]
backbones:
  - vit-micro(width=16, heads=2, depth=1)
entries: [cross-entropy, temperature-scaling, calattn(hidden=8)]
seeds: [0]
protocol: {name: clean, calibration_fraction: 0.2, bootstrap: 20}
training: {epochs: 2, batch_size: 128, lr: 0.01, augment: false}
"""


def hands_out(config):
    """Whether this process hands the tests to workers and runs none itself."""
    return bool(config.getoption("numprocesses", None)) and not hasattr(config, "workerinput")


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config):
    """One worker more than cores for the slow tests, which wait for other processes a part of their time."""
    workers = yield
    is_fast = "not slow" in config.getoption("markexpr")
    return workers if is_fast or "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ else workers + 1


def pytest_configure(config):
    if hands_out(config):
        return
    from examples import load_profile

    load_profile(fast="not slow" in config.getoption("markexpr"))


@pytest.hookimpl(wrapper=True)
def pytest_collection(session):
    """Collect in half the time: with no search for garbage among a million imported objects, and with bytecode kept.

    Bytecode is kept even under PYTHONDONTWRITEBYTECODE, or every worker of every run would compile all tests again.
    """
    if hands_out(session.config):
        return (yield)
    write, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    gc.disable()
    try:
        return (yield)
    finally:
        sys.dont_write_bytecode = write
        gc.freeze()
        atexit.register(gc.unfreeze)  # or extension modules complain at the end about what was not released
        gc.set_threshold(10_000, 10, 10)
        gc.enable()


def pytest_collection_modifyitems(items):
    """Long tests first: what ``--dist worksteal`` moves to a worker that is done with its own comes from the end."""
    items.sort(key=lambda item: (not item.get_closest_marker("slow"), "execution" not in item.path.parts))


@pytest.fixture(scope="session", autouse=True)
def _digits_are_read_once():
    """scikit-learn reads the digits from text, in 30 ms: the tests load them hundreds of times."""
    from sklearn import datasets

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "load_digits", functools.cache(datasets.load_digits))
        yield


@pytest.fixture(scope="session")
def text_of_tiny():
    """The tiny suite."""
    return TINY


@pytest.fixture
def tiny(tmp_path):
    """Write the tiny suite and return its path."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return str(path)


@pytest.fixture
def calbench(capsys, monkeypatch, tmp_path, forgotten):
    """Run the command in a folder of its own; returns status, output and messages."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    from calbench.benchmark.cli.main import main

    def calbench(*arguments):
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, captured.out, captured.err

    return calbench


@pytest.fixture
def tinier(tmp_path):
    """Write the tiny suite with 400 samples of a made-up dataset in place of digits, one epoch; return its path."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.replace("[digits]", '["overlap(train=200, test=200)"]').replace("epochs: 2", "epochs: 1"))
    return str(path)


@pytest.fixture(scope="session")
def runs_of_tiny(tmp_path_factory):
    """The folder `runs` after ``calbench run tiny.yaml``, computed once a session: read only, `finished` is a copy."""
    folder = tmp_path_factory.mktemp("tiny")
    suite = folder / "tiny.yaml"
    suite.write_text(TINY)
    from calbench.benchmark.cli.main import main

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main(["run", str(suite), "--jobs", "1", "--results-dir", str(folder / "runs")]) == 0
    return folder / "runs"


@pytest.fixture
def finished(tmp_path, runs_of_tiny):
    """The results folder of a finished run of the tiny suite, where the fixture `calbench` looks; a copy to change."""
    return shutil.copytree(runs_of_tiny, tmp_path / "runs")


@pytest.fixture
def trained(tiny, run, runs_of_tiny, tmp_path):
    """The results of the tiny suite in the folder ``results``, as ``run(tiny)`` gives them; trained once a session."""
    shutil.copytree(runs_of_tiny / "cache", tmp_path / "results" / "cache")
    return run(tiny)


@pytest.fixture
def run(tmp_path):
    """Run a suite in this process and return its results."""
    from calbench.benchmark.config.suite import load_suite
    from calbench.benchmark.execution.runner import RunOptions, run_suite

    def run(source, *, results_dir=None, settings=(), entries=(), seeds=(), **options):
        suite = load_suite(source, settings=settings, entries=entries, seeds=seeds)
        return run_suite(suite, RunOptions(results_dir=str(results_dir or tmp_path / "results"), jobs=1, **options))

    return run


@pytest.fixture
def forgotten(monkeypatch):
    """Registries that forget what the test declares."""
    from calbench.benchmark.cli.catalogue import registries

    for registry in registries().values():
        list(registry)  # entry points are loaded before the copy
        monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    for module in [name for name in sys.modules if name.startswith("calbench_plugin_")]:
        monkeypatch.delitem(sys.modules, module)  # a plug-in of the same text declares its classes again
    known = set(sys.modules)
    yield
    for module in [name for name in set(sys.modules) - known if name.startswith("calbench_plugin_")]:
        del sys.modules[module]


@pytest.fixture(scope="session")
def statuses():
    """The statuses of the cells of results."""
    return lambda results: [cell["status"] for cell in results.run["cells"]]


@pytest.fixture(scope="session")
def value():
    """All values of one metric of one entry in results."""

    def of(results, entry, metric):
        table = results.table
        return table[(table.entry == entry) & (table.metric == metric)].value.to_numpy()

    return of
