"""A disk that fills at any write, odd names of folders, few open files, a cluster whose processes are killed.

``CALBENCH_KILLS`` sets how many clients and workers of the cluster are killed (default 3).
"""

import errno
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

from calbench.benchmark.core import files
from calbench.benchmark.results.results import Results
from calbench.benchmark.store.folder import WRITING
from calbench.benchmark.store.store import Store

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("CALBENCH_KILLS", "3"))
ODD_NAMES = ["with blanks", "ünï-日本", "100%", "a#b?c", "-leading", "new\nline", "'quoted\"", "$HOME", "[x]*", "a:b"]


def same_predictions(first, second):
    stores = Store(first), Store(second)
    assert stores[0].cells() == stores[1].cells()
    for key in stores[0].cells():
        one, two = (store.predictions(key) for store in stores)
        assert all(torch.equal(part.logits, two[address].logits) for address, part in one.splits.items())
        with stores[1].lock(key) as taken:
            assert taken, "a lock was kept"
    assert stores[1].verify() == []


def leftovers():
    return {path.name for folder in (tempfile.gettempdir(), "/dev/shm") for path in Path(folder).glob("*calbench*")}


def test_a_disk_that_fills_at_any_write(calbench, tiny, tmp_path, monkeypatch):
    options = ["--jobs", 1, "--set", "training.epochs=1"]
    assert calbench("run", tiny, *options, "--results-dir", "whole")[0] == 0
    before, sync, number = leftovers(), os.fsync, 0
    while True:
        number += 1
        left = [number]

        def full(handle, left=left):
            left[0] -= 1
            if left[0] <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(handle)

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "fsync", full)
            status, _, err = calbench("run", tiny, *options, "--results-dir", f"full-{number}")
        folder = tmp_path / f"full-{number}"
        assert not list(folder.rglob(f"{WRITING}*"))
        assert all("interrupted write" in finding.problem for finding in Store(folder).verify())
        if status == 0:
            break
        assert status == 2
        assert re.search("no space left on the disk|No space left on device", err)
        assert not list(folder.rglob("failure.json"))
        assert calbench("run", tiny, *options, "--results-dir", f"full-{number}")[0] == 0
        same_predictions(tmp_path / "whole", folder)
    assert number > 5
    assert leftovers() <= before
    print(f"full disk: at each of {number - 1} writes one message, and the next run went on to the same bits")


def test_odd_names_of_folders(calbench, tiny, tmp_path):
    options = ["--jobs", "1", "--set", "training.epochs=1"]
    assert calbench("run", tiny, *options, "--results-dir", "plain")[0] == 0
    for name in ODD_NAMES:
        assert calbench("run", tiny, *options, f"--results-dir={name}")[0] == 0, name
        assert calbench("report", "tiny", f"--results-dir={name}", "--format", "latex")[0] == 2, "the name has a part"
        assert calbench("cache", "verify", f"--results-dir={name}")[0] == 0, name
        same_predictions(tmp_path / "plain", tmp_path / name)
        [results] = (tmp_path / name).glob("tiny*/run.json")
        assert Results.load(results.parent).edited == ()
    print(f"names of folders: {len(ODD_NAMES)} odd ones, the same bits in each")


def test_few_open_files(tiny, tmp_path):
    limit = (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    command = [sys.executable, "-m", "calbench", "run", tiny, "--jobs", "2", "--set", "training.epochs=1"]
    whole = subprocess.run([*command, "--results-dir", tmp_path / "whole"], capture_output=True, text=True)
    assert whole.returncode == 0
    few = subprocess.run(
        [*command, "--results-dir", tmp_path / "few"], capture_output=True, text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit),
    )  # fmt: skip
    assert few.returncode == 0, few.stderr
    same_predictions(tmp_path / "whole", tmp_path / "few")


def test_little_memory_is_said_in_one_line(tiny, tmp_path):
    little = subprocess.run(
        [sys.executable, "-m", "calbench", "run", tiny, "--jobs", "1"], capture_output=True, text=True, cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)),
    )  # fmt: skip
    assert little.returncode == 2, little.stderr
    assert "Traceback" not in little.stderr
    assert "not enough memory" in little.stderr


def children_of(process):
    """The numbers of the processes that a process started, from any of its threads."""
    return [int(n) for file in Path(f"/proc/{process}/task").glob("*/children") for n in file.read_text().split()]


@pytest.mark.cluster
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
def test_killed_clients_and_workers_of_a_cluster_lose_nothing(tiny, tmp_path):
    pytest.importorskip("distributed")
    run = [sys.executable, "-m", "calbench", "run", tiny, "--set", "training.epochs=30", "--set", "seeds=2"]
    assert subprocess.run([*run, "--jobs", "2", "--results-dir", tmp_path / "whole"]).returncode == 0
    results, source, address = tmp_path / "killed", random.Random(0), tmp_path / "scheduler.json"
    where = ["--scheduler-file", address]
    scheduler = subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0", *where])
    nannies = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", "--nworkers", "2", "--nthreads", "1", *where]
    )
    counts = {"clients killed": 0, "workers killed": 0, "finished": 0}
    try:
        while not address.exists():
            assert scheduler.poll() is None
            time.sleep(0.05)
        there = json.loads(address.read_text())["address"]
        run += ["--scheduler", there, "--results-dir", results]
        for number in range(KILLS):
            client = subprocess.Popen(run)
            while client.poll() is None and not list(results.glob("cache/.locks/*.owner")):
                time.sleep(0.05)
            time.sleep(source.uniform(0, 2))
            if client.poll() is not None:
                counts["finished"] += 1
            elif number % 2:
                workers = [n for n in children_of(nannies.pid) if "spawn_main" in cmdline(n)]
                os.kill(source.choice(workers), signal.SIGKILL)
                counts["workers killed"] += 1
                assert client.wait(600) == 0
            else:
                client.kill()
                client.wait()
                counts["clients killed"] += 1
        assert subprocess.run(run).returncode == 0
    finally:
        for process in (nannies, scheduler):
            process.terminate()
            process.wait()
    same_predictions(tmp_path / "whole", results)
    print(f"Dask: {counts}")


def cmdline(process):
    return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
