"""Signals at random moments: no finished cell is lost, no process outlives its parent, and the bits are the same.

Runs are forks of this process, which has imported what takes a command its first seconds; Ctrl-C at start-up, where
imports are what is interrupted, is tested with a command of its own. ``CALBENCH_KILLS`` sets how many runs are ended
for each way of running; by default each signal and each moment is met once with one job, and one of them with two; 17
make the 50 of a long test.
"""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from killing import (
    alive,
    catches,
    fork,
    left_in,
    locks_are_free,
    nothing_left,
    same_predictions,
    same_tables,
    start,
    wait_for,
)  # fmt: skip

from calbench.benchmark.store.store import Store

pytestmark = pytest.mark.slow
LINUX = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux")


SIGNALS = ("SIGKILL", "SIGTERM", "SIGHUP")
MOMENTS = {
    "start-up": None,
    "training": "cache/*/state*",
    "evaluation": "cache/*/predictions.safetensors",
    "last cell": "cache/*/evaluation-*",
    "tables": "*/results.csv",
}
"""What is in the results folder from then on."""
KILLS = int(os.environ.get("CALBENCH_KILLS", "0"))


def in_turn(what, jobs):
    """All of `what` with one job, only the second with several, or CALBENCH_KILLS of them."""
    number, first = KILLS or (len(what) if jobs == 1 else 1), 0 if jobs == 1 else 1
    return [what[(first + count) % len(what)] for count in range(number)]


def wait_until(run, results, sign):
    wait_for(lambda: run.poll() is not None or list(results.glob(sign)), 120)


def end_one(run, results, mark, how, pause):
    """End a run at a random moment after its first saved state; returns whether it was still running."""
    wait_until(run, results, "cache/*/state*")
    time.sleep(pause)
    done = {path: path.read_bytes() for path in results.glob("cache/*/manifest.json")}
    running = run.poll() is None
    if running:
        os.kill(run.pid, getattr(signal, how))
    run.wait(60)
    assert wait_for(lambda: not alive(mark, run.pid), 30), f"processes outlived their parent after {how}"
    for path, manifest in done.items():
        assert path.read_bytes() == manifest, "a finished cell was computed again"
    assert not [finding for finding in Store(results).verify() if "interrupted" not in finding.problem]
    return running


@LINUX
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_runs_lose_nothing_and_leave_no_process(tiny, undisturbed, tmp_path, jobs):
    source, results = random.Random(jobs), tmp_path / "killed"
    counts = dict.fromkeys((*SIGNALS, "finished"), 0)
    with nothing_left() as temporary:
        for number, how in enumerate(in_turn(SIGNALS, jobs)):
            mark = f"{jobs}-{number}"
            run = fork(tiny, results, mark, "--jobs", str(jobs), temporary=temporary)
            counts[how if end_one(run, results, mark, how, source.uniform(0, 0.5)) else "finished"] += 1
        assert fork(tiny, results, "last", "--jobs", "1", temporary=temporary).wait(600) == 0
    same_predictions(undisturbed, results)
    same_tables(undisturbed, results)
    print(f"jobs {jobs}: {sum(counts.values())} runs ended: {counts}")


@LINUX
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_at_any_moment_is_quiet(tiny, undisturbed, tmp_path, jobs):
    """Ctrl-C reaches all processes of the command, from its first import to the last table; a rerun gives the same."""
    source, counts = random.Random(jobs), dict.fromkeys((*MOMENTS, "finished"), 0)
    with nothing_left() as temporary:
        for number, moment in enumerate(in_turn(list(MOMENTS), jobs)):
            mark, delay, results = f"c{jobs}-{number}", source.uniform(0, 0.5), tmp_path / f"{number}"
            where = f"at {moment}, {delay} s"
            with (tmp_path / "errors").open("wb") as errors:
                begin, delay = (start, 3 * delay) if moment == "start-up" else (fork, delay)
                run = begin(tiny, results, mark, "--jobs", str(jobs), errors=errors, temporary=temporary)
                wait_for(lambda run=run: run.poll() is not None or catches(run.pid, signal.SIGTERM), 60)
                if sign := MOMENTS[moment]:
                    wait_until(run, results, sign)
                time.sleep(delay if moment != "tables" else delay / 10)
                counts[moment if run.poll() is None else "finished"] += 1
                if run.poll() is None:
                    os.killpg(run.pid, signal.SIGINT)
                status = run.wait(60)
            text = (tmp_path / "errors").read_text()
            assert "Traceback" not in text, (where, text)
            assert "Exception ignored" not in text, (where, text)
            assert status in (0, 130, -signal.SIGINT), (where, text)  # the last: Python was ending already
            assert wait_for(lambda mark=mark, run=run: not alive(mark, run.pid), 30), f"a process outlived it {where}"
            assert left_in(temporary) == [], where
            assert not list(results.glob("cache/.locks/*.owner")), where
            locks_are_free(results)
            assert fork(tiny, results, "again", "--jobs", "1", temporary=temporary).wait(600) == 0
            same_predictions(undisturbed, results)
            same_tables(undisturbed, results)
            print(f"Ctrl-C {where}, status {status}: the same tables", flush=True)
    print(f"Ctrl-C, jobs {jobs}: {counts}, each rerun with the same tables")


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
