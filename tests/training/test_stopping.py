"""A cell that is stopped within an epoch goes on from the very step, with the same bits."""

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from fast_set import slowly

from calbench.benchmark.core import stopping
from calbench.benchmark.store.store import Store
from calbench.benchmark.training import trainer as training

SETTINGS = ["training.epochs=2", "training.batch_size=300", "training.augment=true", "training.ema=0.9"]
ENTRIES = ["mixup + tempnet(hidden=8)"]


def stop_at(monkeypatch, steps, how):
    """Send a signal to this process in the given training step, counted over all epochs and cells."""
    original, count = training.Trainer._step, []

    def step(self, *arguments):
        loss = original(self, *arguments)
        count.append(1)
        if len(count) == steps:
            os.kill(os.getpid(), how)
        return loss

    monkeypatch.setattr(training.Trainer, "_step", step)


@pytest.mark.parametrize(("steps", "how"), [(2, signal.SIGTERM), *slowly((4, signal.SIGINT), (7, signal.SIGHUP))])
def test_a_stopped_epoch_goes_on_from_its_step(tiny, run, tmp_path, monkeypatch, steps, how):
    whole = run(tiny, results_dir=tmp_path / "whole", settings=SETTINGS, entries=ENTRIES)
    stop_at(monkeypatch, steps, how)
    with pytest.raises(stopping.Stopped):
        run(tiny, results_dir=tmp_path / "stopped", settings=SETTINGS, entries=ENTRIES)
    monkeypatch.undo()
    store = Store(tmp_path / "stopped")
    assert "partial" in {store.status(cell["key"]) for cell in whole.run["cells"]}
    run(tiny, results_dir=tmp_path / "stopped", settings=SETTINGS, entries=ENTRIES)
    for cell in whole.run["cells"]:
        first, second = (Store(tmp_path / name).predictions(cell["key"]) for name in ("whole", "stopped"))
        for address, part in first.splits.items():
            assert torch.equal(part.logits, second[address].logits), address
    assert store.verify() == []


def test_a_second_signal_interrupts_at_once():
    def work():
        with stopping.handled(), stopping.deferred():
            os.kill(os.getpid(), signal.SIGTERM)
            assert stopping.requested() == signal.SIGTERM
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("the second signal was deferred")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(stopping.Stopped):
        work()
    assert signal.getsignal(signal.SIGINT) is before


def test_what_is_ignored_stays_ignored(monkeypatch):
    """Under nohup a hang-up ends nothing."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stopping.handled():
            os.kill(os.getpid(), signal.SIGHUP)
            assert stopping.requested() is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interrupt_that_a_library_swallows_is_not_lost():
    def work():
        with stopping.handled():
            with contextlib.suppress(BaseException):  # as an import that tries whether something is there
                os.kill(os.getpid(), signal.SIGINT)
            with stopping.handled():
                pytest.fail("the run went on")

    with pytest.raises(stopping.Stopped):
        work()


def test_processes_started_inside_never_see_what_the_terminal_sends():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGINT); os.kill(os.getpid(), signal.SIGHUP); print('whole')"
    with stopping.blocked():
        child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (child.stdout, child.returncode) == ("whole\n", 0)
    assert not {signal.SIGINT, signal.SIGHUP} & signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize("ends", ["lambda *_: None", "stop"])
def test_a_worker_that_is_signalled_after_its_work_prints_nothing(ends):
    code = f"""
import os, signal, time
from calbench.benchmark.core import stopping
from calbench.benchmark.execution import worker

def stop(*arguments):
    raise stopping.Stopped

worker._work = {ends}
worker.start(None, b"", 0)
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(0.01)
print("whole")
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (child.stdout, child.stderr, child.returncode) == ("whole\n", "", 0)


def test_a_module_is_loaded_to_its_end_before_a_signal_interrupts(tmp_path, monkeypatch):
    """An exception within the import of a C++ extension ended the process with SIGABRT."""
    (tmp_path / "signalled.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nfor _ in range(1000): pass\nwhole = True\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    loaded = []

    def work():
        with stopping.handled():
            loaded.append(importlib.import_module("signalled").whole)
            for _ in range(1000):
                time.sleep(0.01)
            pytest.fail("the signal was lost")

    with pytest.raises(stopping.Stopped):
        work()
    assert loaded == [True]


def test_a_script_that_is_itself_imported_is_interrupted_at_once(tmp_path, monkeypatch):
    (tmp_path / "script.py").write_text(
        "import os, signal\nfrom calbench.benchmark.core import stopping\n"
        "with stopping.handled():\n    os.kill(os.getpid(), signal.SIGINT)\n    raise AssertionError('too late')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(stopping.Stopped):
        importlib.import_module("script")
