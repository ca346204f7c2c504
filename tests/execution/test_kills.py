"""Signals at random moments: no finished cell is lost, no process outlives its parent, and the bits are the same.

``CALBENCH_KILLS`` sets how many runs are ended for each way of running (default 2); 17 make the 50 of a long test.
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
KILLS = int(os.environ.get("CALBENCH_KILLS", "2"))
LINUX = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux")


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


@LINUX
@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_runs_lose_nothing_and_leave_no_process(tiny, tmp_path, jobs):
    source, results = random.Random(jobs), tmp_path / "killed"
    assert start(tiny, tmp_path / "whole", "whole").wait(600) == 0
    counts = dict.fromkeys(("SIGKILL", "SIGTERM", "SIGHUP", "finished"), 0)
    with nothing_left() as temporary:
        for number in range(KILLS):
            mark, how = f"{jobs}-{number}", source.choice(("SIGKILL", "SIGTERM", "SIGHUP"))
            run = start(tiny, results, mark, "--jobs", str(jobs), temporary=temporary)
            counts[how if end_one(run, results, mark, how, source.uniform(0, 1.5)) else "finished"] += 1
        assert start(tiny, results, "last", "--jobs", str(jobs), temporary=temporary).wait(600) == 0
    same_predictions(tmp_path / "whole", results)
    same_tables(tmp_path / "whole", results)
    print(f"jobs {jobs}: {KILLS} runs ended: {counts}")


MOMENTS = {
    "start-up": None,
    "training": "cache/*/state*",
    "evaluation": "cache/*/predictions.safetensors",
    "last cell": "cache/*/evaluation-*",
    "tables": "*/results.csv",
}
"""What is in the results folder from then on."""


@LINUX
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_at_any_moment_is_quiet(tiny, tmp_path, jobs):
    """Ctrl-C reaches all processes of the command, from its first import to the last table; a rerun gives the same."""
    source, counts = random.Random(jobs), dict.fromkeys((*MOMENTS, "finished"), 0)
    assert start(tiny, tmp_path / "whole", "whole", epochs=8).wait(600) == 0
    moments = [list(MOMENTS)[(number + KILLS * jobs) % len(MOMENTS)] for number in range(KILLS)]
    with nothing_left() as temporary:
        for number, moment in enumerate(moments):
            mark, delay, results = f"c{jobs}-{number}", source.uniform(0, 1.5), tmp_path / f"{number}"
            where = f"at {moment}, {delay} s"
            with (tmp_path / "errors").open("wb") as errors:
                run = start(tiny, results, mark, "--jobs", str(jobs), errors=errors, temporary=temporary, epochs=8)
                wait_for(lambda run=run: run.poll() is not None or catches(run.pid, signal.SIGTERM), 60)
                if sign := MOMENTS[moment]:
                    wait_for(lambda run=run, at=results, sign=sign: run.poll() is not None or list(at.glob(sign)), 120)
                time.sleep(delay if moment != "tables" else delay / 10)
                counts[moment if run.poll() is None else "finished"] += 1
                if run.poll() is None:
                    os.killpg(run.pid, signal.SIGINT)
                status = run.wait(60)
            text = (tmp_path / "errors").read_text()
            assert "Traceback" not in text, (where, text)
            assert "Exception ignored" not in text, (where, text)
            assert status in (0, 130, -signal.SIGINT), (where, text)  # the last: Python was ending already
            assert wait_for(lambda mark=mark: not alive(mark), 30), f"processes outlived Ctrl-C {where}"
            assert left_in(temporary) == [], where
            assert not list(results.glob("cache/.locks/*.owner")), where
            locks_are_free(results)
            assert start(tiny, results, "again", "--jobs", str(jobs), temporary=temporary, epochs=8).wait(600) == 0
            same_predictions(tmp_path / "whole", results)
            same_tables(tmp_path / "whole", results)
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
