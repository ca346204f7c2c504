"""A local Dask cluster whose client, workers, scheduler and nannies are killed: nothing is lost or left running.

``CALBENCH_KILLS`` sets the number of kills (default 1, 4 are one of each kind); each comes at a random moment of a run.
In test_endurance a worker and a scheduler are killed.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killing import alive, environment, fork, nothing_left, same_predictions, same_tables, wait_for

from calbench.benchmark.store.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
KILLS = int(os.environ.get("CALBENCH_KILLS", "1"))
KINDS = ("client", "worker", "scheduler", "parent of the workers")
MARK = "cluster"
WORKERS = "1" if KILLS == 1 else "2"  # each imports all that calbench has


class Cluster:
    """A scheduler and a worker, or several, each of which a nanny starts again; all in processes with the mark."""

    def __init__(self, folder, temporary, *options, protocol="tcp"):
        self.file, self.options, self.protocol = folder / "scheduler.json", options, protocol
        self.environment = environment(MARK, temporary)
        self.log = (folder / "cluster.log").open("ab")
        self.start()

    def start(self):
        self.file.unlink(missing_ok=True)
        self.scheduler = self._process(
            "dask_scheduler", "--port", "0", "--no-dashboard", "--host", "127.0.0.1", "--protocol", self.protocol
        )
        assert wait_for(lambda: self.file.exists() or self.scheduler.poll() is not None, 60)
        self.address = json.loads(self.file.read_text())["address"]
        self.start_workers()

    def start_workers(self):
        self.nannies = self._process("dask_worker", "--nworkers", WORKERS, "--nthreads", "1", "--no-dashboard")

    def _process(self, name, *options):
        where = ["--scheduler-file", self.file, *self.options]
        command = [sys.executable, "-m", f"distributed.cli.{name}", *options, *where]
        return subprocess.Popen(command, env=self.environment, stdout=self.log, stderr=self.log)

    def workers(self):
        """The processes that compute: children of the nannies, apart from the helpers of multiprocessing."""
        folder = Path(f"/proc/{self.nannies.pid}/task")
        children = [int(n) for file in folder.glob("*/children") for n in file.read_text().split()]
        return [n for n in children if b"spawn_main" in Path(f"/proc/{n}/cmdline").read_bytes()]

    def stop(self):
        for process in (self.nannies, self.scheduler):
            process.terminate()
        for process in (self.nannies, self.scheduler):
            process.wait(60)
        self.log.close()


def kill(kind, cluster, client, source):
    """End something; returns the status that the client is to end with."""
    if kind == "client":
        number = source.choice((signal.SIGKILL, signal.SIGTERM, signal.SIGINT))
        client.send_signal(number)
        return -9 if number == signal.SIGKILL else 128 + number
    if kind == "worker":
        assert wait_for(cluster.workers, 60)
        os.kill(source.choice(cluster.workers()), signal.SIGKILL)
        return 0
    if kind == "scheduler":
        cluster.scheduler.kill()
        return 2
    workers = cluster.workers()
    cluster.nannies.kill()
    cluster.nannies.wait()
    assert wait_for(lambda: not set(workers) & set(alive(MARK)), 60), "workers outlived their parent"
    cluster.start_workers()
    return 0


def one_round(kind, cluster, suite, results, source, temporary):
    """A run, at a random moment of which something is killed; returns whether it was still running then."""
    log = results.parent / "client.log"
    with log.open("wb") as errors:
        client = fork(suite, results, MARK, "--scheduler", cluster.address, errors=errors, temporary=temporary)
        wait_for(lambda: client.poll() is not None or list(results.glob("cache/.locks/*.owner")), 120)
        time.sleep(source.uniform(0, 2))
        done = {path: path.read_bytes() for path in results.glob("cache/*/manifest.json")}
        if client.poll() is not None:
            return False
        expected = kill(kind, cluster, client, source)
        status = client.wait(300)
    text = log.read_text()
    assert status == expected, (kind, text)
    assert "Traceback" not in text, (kind, text)
    assert all(path.read_bytes() == manifest for path, manifest in done.items()), "a finished cell was computed again"
    assert not list(results.glob("cache/*/failure.json")), "no cell is at fault"
    if kind == "scheduler":
        assert re.search("the Dask scheduler is gone|no Dask scheduler answers", text)
        assert wait_for(lambda: cluster.nannies.poll() is not None, 180), "workers outlived their scheduler"
        assert wait_for(lambda: not alive(MARK), 60)
        cluster.start()
    return True


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
def test_a_killed_cluster_loses_nothing_and_leaves_no_process(tiny, undisturbed, tmp_path):
    pytest.importorskip("distributed")
    results, source, counts, finished = tmp_path / "killed", random.Random(0), dict.fromkeys(KINDS, 0), 0
    with nothing_left() as temporary:
        cluster = Cluster(tmp_path, temporary)
        try:
            while sum(counts.values()) < KILLS:
                kind = KINDS[sum(counts.values()) % len(KINDS)]
                if one_round(kind, cluster, tiny, results, source, temporary):
                    counts[kind] += 1
                    print(f"killed {counts}", flush=True)
                else:  # all was done before: begin anew
                    finished += 1
                    shutil.rmtree(results / "cache")
            last = fork(tiny, results, MARK, "--scheduler", cluster.address, temporary=temporary)
            assert last.wait(600) == 0
        finally:
            cluster.stop()
        assert wait_for(lambda: not alive(MARK), 60), "processes of the cluster are left"
    same_predictions(undisturbed, results)
    same_tables(undisturbed, results)
    assert not [key for key in Store(results).cells() if Store(results).status(key) != "done"]
    print(f"Dask: killed {counts}; {finished} runs were finished before")
