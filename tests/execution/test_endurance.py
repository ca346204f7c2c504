"""Kills, clusters, several processes on one model: nothing is lost, and the results are the same."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from killing import dask_process

from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.execution.runner import RunOptions, run_suite
from calbench.benchmark.results.results import Results
from calbench.benchmark.store.folder import WRITING, Folder
from calbench.benchmark.store.store import Store
from calbench.benchmark.training import trainer as training

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("CALBENCH_KILLS", "8"))
ORDER = ["dataset", "backbone", "entry", "seed", "checkpoint", "split", "metric"]


def tidy(results):
    return results.table.sort_values(ORDER).reset_index(drop=True)


def forked(suite, folder):
    """Run a suite in a forked child (which has torch imported already); returns its process number."""
    child = os.fork()
    if child:
        return child
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        run_suite(suite, RunOptions(results_dir=str(folder), jobs=1))
        os._exit(0)
    except BaseException:
        os._exit(1)


def manifests(folder):
    return {path.parent.name: path.read_bytes() for path in folder.glob("cache/*/manifest.json")}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_kills_at_random_moments_lose_nothing(tiny, run, tmp_path):
    settings = ["training.save_seconds=0", "training.epochs=6", "seeds=3", "training.ema=0.9"]
    entries = ["mixup", "calattn(hidden=8)", "temperature-scaling"]
    suite = load_suite(tiny, settings=settings, entries=entries)
    undisturbed = run(tiny, results_dir=tmp_path / "whole", settings=settings, entries=entries)
    folder, chance = tmp_path / "killed", random.Random(0)
    finished, kills, ended = {}, 0, None
    while ended != 0:
        child = forked(suite, folder)
        delay = chance.uniform(0.02, 0.35) if kills < KILLS else 60
        deadline = time.monotonic() + delay
        while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
            time.sleep(0.005)
        if done == (0, 0):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            kills += 1
        else:
            ended = os.waitstatus_to_exitcode(done[1])
            assert ended == 0
        now = manifests(folder)
        assert finished.items() <= now.items(), "a finished cell was computed again"
        finished = now
        for finding in Store(folder).verify():
            assert "interrupted write" in finding.problem
        if ended == 0 and kills < KILLS:  # the suite was done too early: start over with fresh cells
            ended, finished = None, {}
            for key in now:
                Store(folder).forget(key)
    assert kills >= KILLS
    results = run(tiny, results_dir=folder, settings=settings, entries=entries)
    assert tidy(results).equals(tidy(undisturbed))
    assert not list(folder.rglob(f"{WRITING}*"))


@pytest.mark.slow
def test_two_runs_on_one_folder_share_the_work(tiny, tmp_path):
    suite = load_suite(tiny, settings=["seeds=2"], entries=["mixup", "brier"])
    children = [forked(suite, tmp_path) for _ in range(2)]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
    store = Store(tmp_path)
    assert len(store.cells()) == 6
    assert store.verify() == []
    for key in store.cells():
        log = (tmp_path / "cache" / key / "log.txt").read_text().splitlines()
        assert len(log) == 2, "each cell was trained once, for its two epochs"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_runs_go_on_while_their_cache_is_verified_and_pruned(tiny, run, tmp_path):
    settings, entries = ["seeds=3", "training.save_seconds=0", "training.epochs=4"], ["mixup", "temperature-scaling"]
    suite = load_suite(tiny, settings=settings, entries=entries)
    undisturbed = run(tiny, results_dir=tmp_path / "whole", settings=settings, entries=entries)
    folder, store = tmp_path / "shared", Store(tmp_path / "shared")
    running = {forked(suite, folder) for _ in range(2)}
    counts, statuses, finished = Counter(), [], set()
    while running:
        now = set(manifests(folder))
        assert finished <= now, "a finished cell was removed"
        finished = now
        counts["verified"] += 1
        assert not [f for f in store.verify() if "interrupted write" not in f.problem]
        counts["pruned"] += 1
        assert store.prune() == []
        time.sleep(0.02)
        for child in list(running):
            done = os.waitpid(child, os.WNOHANG)
            if done != (0, 0):
                running.remove(child)
                statuses.append(os.waitstatus_to_exitcode(done[1]))
    assert statuses == [0, 0]
    assert counts["pruned"] >= 3
    assert store.verify() == []
    assert not list(folder.rglob(f"{WRITING}*"))
    for key in store.cells():
        assert len((folder / "cache" / key / "log.txt").read_text().splitlines()) == 4, "trained once"
    assert tidy(run(tiny, results_dir=folder, settings=settings, entries=entries)).equals(tidy(undisturbed))
    print(f"2 runs of {len(store.cells())} cells, meanwhile {dict(counts)}")


@pytest.mark.slow
@pytest.mark.cluster
def test_a_dask_cluster_survives_a_killed_worker_with_the_same_results(tiny, run, tmp_path, forgotten, forks):
    distributed = pytest.importorskip("distributed")
    from calbench.benchmark.core.registry import Plugin

    plugin = tmp_path / "mortal.py"
    plugin.write_text(
        "import multiprocessing, os, signal\n"
        "from dataclasses import dataclass\n"
        "from pathlib import Path\n"
        "from calbench.methods import register\n"
        "from calbench.methods.losses.brier import BrierLoss\n"
        "@register('mortal-brier')\n"
        "@dataclass\n"
        "class MortalBrier(BrierLoss):\n"
        "    '''Brier that kills its worker process once.'''\n"
        "    marker: str = ''\n"
        "    def loss(self, outputs, targets):\n"
        "        if multiprocessing.parent_process() and not Path(self.marker).exists():\n"
        "            Path(self.marker).write_text('killed')\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().loss(outputs, targets)\n"
    )
    Plugin.load(plugin)
    marker = tmp_path / "marker"
    entries = [f"mortal-brier(marker={marker})", "temperature-scaling"]
    suite = load_suite(tiny, entries=entries)
    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        options = RunOptions(results_dir=str(tmp_path / "dask"), plugins=(plugin,), scheduler=cluster.scheduler_address)
        clustered = run_suite(suite, options)
    assert marker.exists()
    alone = run(tiny, results_dir=tmp_path / "alone", entries=entries)
    assert [cell["status"] for cell in clustered.run["cells"]] == ["done", "done"]
    assert tidy(clustered).equals(tidy(alone))


def test_no_scheduler_is_bad_input(tiny, tmp_path, monkeypatch):
    pytest.importorskip("distributed")
    from calbench.benchmark.core.errors import InputError
    from calbench.benchmark.execution import cluster

    monkeypatch.setattr(cluster, "CONNECT_SECONDS", "1s")
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        run_suite(load_suite(tiny), RunOptions(results_dir=str(tmp_path), scheduler="tcp://127.0.0.1:9"))


@pytest.mark.slow
@pytest.mark.cluster
def test_a_lost_scheduler_ends_the_run_and_fails_no_cell(tiny, tmp_path, forks):
    from calbench.benchmark.core.errors import InputError
    from calbench.benchmark.execution.cluster import run_dask
    from calbench.benchmark.execution.produce import Context
    from calbench.benchmark.execution.runner import plan_suite

    address = tmp_path / "scheduler.json"
    where = ["--scheduler-file", address]
    scheduler = dask_process(forks, "dask_scheduler", "--port", "0", *where)
    worker = dask_process(forks, "dask_worker", "--nthreads", "1", "--no-nanny", *where)
    try:
        while not address.exists():
            assert scheduler.is_alive()
            time.sleep(0.05)
        suite = load_suite(tiny, settings=["seeds=3", "training.epochs=5"])
        plan = plan_suite(suite, RunOptions(results_dir=str(tmp_path / "r")))
        context = Context(str(tmp_path / "r"), tmp_path, suite.protocol)
        with pytest.raises(InputError, match="the Dask scheduler is gone"):
            run_dask(plan, context, lambda *_: scheduler.kill(), json.loads(address.read_text())["address"])
        assert "failed" not in {Store(tmp_path / "r").status(work.cell.key) for work in plan}
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.join()


@pytest.mark.parametrize(
    ("text", "message"),
    [("[1, 2]", "expected options by name, got list"), ("{jobs: 2, queu: x}", "refuses them"), ("{", "slurm-options")],
)
def test_bad_slurm_options(tiny, tmp_path, text, message):
    pytest.importorskip("dask_jobqueue")
    from calbench.benchmark.core.errors import InputError

    options = tmp_path / "slurm.yaml"
    options.write_text(text)
    with pytest.raises(InputError, match=message):
        run_suite(load_suite(tiny), RunOptions(results_dir=str(tmp_path), scheduler="slurm", scheduler_options=options))


@pytest.mark.slow
def test_two_processes_train_one_model_to_the_same_predictions(tiny, run, tmp_path):
    entries = ["mixup + calattn(hidden=8)"]
    settings = ["training.epochs=2", "training.batch_size=100"]
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "2", "--num_machines", "1",
        "--mixed_precision", "no", "--main_process_port", str(random.randint(20000, 60000)), ROOT / "run_all.py", tiny,
        "--results-dir", tmp_path / "two", "--name", "tiny", "--entry", *entries,
        *(a for s in settings for a in ("--set", s)),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    one = run(tiny, results_dir=tmp_path / "one", settings=settings, entries=entries)
    Results.load(tmp_path / "two" / "tiny")
    for cell in one.run["cells"]:
        together = Store(tmp_path / "two").predictions(cell["key"])["last", "test"]
        alone = Store(tmp_path / "one").predictions(cell["key"])["last", "test"]
        assert torch.equal(together.labels, alone.labels)
        np.testing.assert_allclose(together.logits.numpy(), alone.logits.numpy(), rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_out_of_memory_halves_the_micro_batch_and_says_so(tiny, run, tmp_path, monkeypatch):
    whole = run(tiny, results_dir=tmp_path / "whole", entries=["brier"])
    original = training.Trainer._accumulate

    def too_small(self, images, targets, size):
        if self.micro_batch > 40:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return original(self, images, targets, size)

    monkeypatch.setattr(training.Trainer, "_accumulate", too_small)
    halved = run(tiny, results_dir=tmp_path / "halved", entries=["brier"])
    key = halved.run["cells"][0]["key"]
    log = (tmp_path / "halved" / "cache" / key / "log.txt").read_text()
    assert "CUDA out of memory: going on with micro-batches of 64" in log
    assert "CUDA out of memory: going on with micro-batches of 32" in log
    values = [r.table[r.table.metric == "nll"].value.to_numpy() for r in (whole, halved)]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-4)

    monkeypatch.setattr(
        training.Trainer, "_accumulate", lambda *a: (_ for _ in ()).throw(torch.cuda.OutOfMemoryError())
    )
    failed = run(tiny, results_dir=tmp_path / "failed", entries=["brier"])
    assert {cell["status"] for cell in failed.run["cells"]} == {"failed"}


def test_results_may_lie_at_an_fsspec_address(tiny, run):
    address = f"memory://calbench-run-{os.getpid()}"
    first = run(tiny, results_dir=address)
    second = run(tiny, results_dir=address)
    folder = Folder(address)
    assert folder.read("tiny/results.csv").startswith(b"dataset,backbone,entry")
    assert [cell["status"] for cell in second.run["cells"]] == ["done", "done"]
    assert tidy(first).equals(tidy(second))


@pytest.mark.slow
def test_a_clock_set_back_changes_nothing(tiny, run, monkeypatch):
    first = run(tiny)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert tidy(run(tiny)).equals(tidy(first))
