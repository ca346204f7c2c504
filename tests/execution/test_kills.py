"""Signals at random moments: no finished cell is lost, no process outlives its parent, and the bits are the same.

``CALBENCH_KILLS`` sets how many runs are ended for each way of running (default 3); 17 make the 50 of a long test.
"""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

from calbench.benchmark.store.store import Store

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("CALBENCH_KILLS", "3"))
SETTINGS = ["--set", "training.epochs=30", "--set", "training.save_seconds=0", "--set", "protocol.bootstrap=20"]
MARK = "CALBENCH_TEST_OF_KILLS"


def alive(mark):
    """The processes whose environment has the mark: a run and all that it started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and folder.name != str(os.getpid()):
            with contextlib.suppress(OSError):
                zombie = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
                if not zombie and f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found.append(int(folder.name))
    return found


def start(suite, results, mark, *options, errors=subprocess.DEVNULL):
    command = [sys.executable, "-m", "calbench", "run", suite, "--results-dir", str(results), *SETTINGS, *options]
    output = {"stdout": subprocess.DEVNULL, "stderr": errors}
    return subprocess.Popen(command, env=os.environ | {MARK: mark}, start_new_session=True, **output)


def wait_for(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def leftovers():
    return {path.name for folder in (tempfile.gettempdir(), "/dev/shm") for path in Path(folder).glob("*calbench*")}


def end_one(run, results, mark, how, pause):
    """End a run at a random moment after its first saved state; returns whether it was still running."""
    wait_for(lambda: run.poll() is not None or list(results.glob("cache/*/state*")), 120)
    time.sleep(pause)
    done = {path: path.read_bytes() for path in results.glob("cache/*/manifest.json")}
    running = run.poll() is None
    if running:
        os.kill(run.pid, getattr(signal, how))
    run.wait(60)
    assert wait_for(lambda: not alive(mark), 30), f"processes outlived their parent after {how}"
    for path, manifest in done.items():
        assert path.read_bytes() == manifest, "a finished cell was computed again"
    assert not [finding for finding in Store(results).verify() if "interrupted" not in finding.problem]
    return running


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux")
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_runs_lose_nothing_and_leave_no_process(tiny, tmp_path, jobs):
    source, before, results = random.Random(jobs), leftovers(), tmp_path / "killed"
    assert start(tiny, tmp_path / "whole", "whole").wait(600) == 0
    counts = dict.fromkeys(("SIGKILL", "SIGTERM", "SIGHUP", "finished"), 0)
    for number in range(KILLS):
        mark, how = f"{jobs}-{number}", source.choice(("SIGKILL", "SIGTERM", "SIGHUP"))
        run = start(tiny, results, mark, "--jobs", str(jobs))
        counts[how if end_one(run, results, mark, how, source.uniform(0, 1.5)) else "finished"] += 1
    assert start(tiny, results, "last", "--jobs", str(jobs)).wait(600) == 0
    stores = Store(tmp_path / "whole"), Store(results)
    assert stores[0].cells() == stores[1].cells()
    for key in stores[0].cells():
        with stores[1].lock(key) as held:
            assert held, "a lock was kept"
        first, second = (store.predictions(key) for store in stores)
        assert all(torch.equal(part.logits, second[address].logits) for address, part in first.splits.items())
    assert stores[1].verify() == []
    assert leftovers() <= before
    print(f"jobs {jobs}: {KILLS} runs ended: {counts}")


def catches(process, number):
    """Whether a process has a handler for a signal: for SIGTERM, Python alone has none, so calbench has started."""
    status = Path(f"/proc/{process}/status").read_text()
    return bool(int(re.search(r"SigCgt:\s*([0-9a-f]+)", status)[1], 16) >> (number - 1) & 1)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux")
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_at_any_moment_is_quiet(tiny, tmp_path, jobs):
    """Ctrl-C reaches all processes of the command, from its first import to its last moment."""
    source = random.Random(jobs)
    for number in range(KILLS):
        mark, delay = f"c{jobs}-{number}", source.uniform(0, 8)
        with (tmp_path / "errors").open("wb") as errors:
            run = start(tiny, tmp_path / f"{number}", mark, "--jobs", str(jobs), errors=errors)
            assert wait_for(lambda run=run: run.poll() is not None or catches(run.pid, signal.SIGTERM), 60)
            time.sleep(delay)
            if run.poll() is None:
                os.killpg(run.pid, signal.SIGINT)
            status = run.wait(60)
        text = (tmp_path / "errors").read_text()
        assert "Traceback" not in text, (delay, text)
        assert "Exception ignored" not in text, (delay, text)
        assert status in (0, 130), (delay, text)
        assert wait_for(lambda mark=mark: not alive(mark), 30), f"processes outlived Ctrl-C after {delay} s"


def change(data, how, other):
    if how == "truncated":
        return data[: len(data) // 2]
    if how == "altered":
        return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]
    return other


@pytest.mark.parametrize("how", ["truncated", "altered", "swapped"])
def test_every_stored_file_that_is_damaged_is_found_and_made_again(tiny, run, tmp_path, how):
    settings = ["keep=weights", "training.epochs=1"]
    before, results = run(tiny, settings=settings), tmp_path / "results"
    store, counts = Store(results), 0
    first, second = (results / "cache" / key for key in store.cells())
    for file in sorted(path.name for path in first.iterdir() if path.suffix in (".safetensors", ".json")):
        path, theirs = first / file, second / file
        other = theirs if theirs.exists() else next(second.glob(f"evaluation-*{path.suffix}"))
        whole = path.read_bytes()
        path.write_bytes(change(whole, how, other.read_bytes()))
        assert [finding.key for finding in store.verify()] == [first.name], file
        counts += 1
        path.write_bytes(whole)
    assert store.verify() == []
    (first / "manifest.json").write_bytes(b"{")
    again = run(tiny, settings=settings)
    assert store.verify() == []
    assert again.table.equals(before.table)
    assert counts >= 4
    print(f"{how}: {counts} kinds of files, all found")
