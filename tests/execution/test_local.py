"""Worker processes: the same results as in one process, and nothing lost when one is killed."""

import itertools
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

import pytest

from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.execution.local import run_processes
from calbench.benchmark.execution.plan import make_plan
from calbench.benchmark.execution.produce import Context
from calbench.benchmark.execution.runner import RunOptions, plan_suite, run_suite, status
from calbench.benchmark.results.results import Results
from calbench.benchmark.store.store import Store

SUICIDE = """\
import multiprocessing, os, signal
from dataclasses import dataclass
from pathlib import Path
from calbench.methods import Objective, register

@register("mortal")
@dataclass
class Mortal(Objective):
    '''Kills its worker process in the first step until the file of its option is there.'''

    marker: str
    times: int = 1

    def loss(self, outputs, targets):
        marker = Path(self.marker)
        seen = len(marker.read_text()) if marker.exists() else 0
        if seen < self.times and multiprocessing.parent_process():
            marker.write_text("x" * (seen + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return outputs.logits.square().mean()
"""


@pytest.fixture
def mortal(tmp_path, forgotten):
    """A plug-in whose cell kills its worker, and the entry that uses it."""
    from calbench.benchmark.core.registry import Plugin

    path = tmp_path / "mortal.py"
    path.write_text(SUICIDE)
    Plugin.load(path)
    return path


def table_of(results):
    order = ["dataset", "backbone", "entry", "seed", "split", "metric"]
    return results.table.sort_values(order).reset_index(drop=True)


@pytest.mark.slow
def test_worker_processes_give_the_results_of_one_process(tiny, runs_of_tiny, tmp_path):
    one = Results.load(runs_of_tiny / "tiny")
    two = run_suite(load_suite(tiny), RunOptions(results_dir=str(tmp_path / "two"), jobs=2))
    assert table_of(one).equals(table_of(two))


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_cell_done(tiny, tmp_path, mortal):
    entry = f"mortal(marker={tmp_path / 'marker'})"
    suite = load_suite(tiny, entries=[entry])
    results = run_suite(suite, RunOptions(results_dir=str(tmp_path / "r"), jobs=2, plugins=(mortal,)))
    assert [cell["status"] for cell in results.run["cells"]] == ["done", "done"]


@pytest.mark.slow
def test_a_cell_that_kills_its_worker_again_and_again_is_a_failure(tiny, tmp_path, mortal):
    entry = f"mortal(marker={tmp_path / 'marker'}, times=9)"
    suite = load_suite(tiny, entries=[entry])
    results = run_suite(suite, RunOptions(results_dir=str(tmp_path / "r"), jobs=2, plugins=(mortal,)))
    cells = {cell["recipe"].split("(")[0]: cell for cell in results.run["cells"]}
    assert cells["cross-entropy"]["status"] == "done"
    assert cells["mortal"]["status"] == "failed"
    assert "SIGKILL" in cells["mortal"]["reason"]


STUCK = """\
import time
from dataclasses import dataclass
from pathlib import Path
from calbench.methods import Objective, register

@register("stuck")
@dataclass
class Stuck(Objective):
    '''Stops for a minute in its second epoch, as in the middle of a write to the file that its option names.'''

    unfinished: str
    steps = 0

    def loss(self, outputs, targets):
        self.steps += outputs.logits.requires_grad
        if Path(self.unfinished).parent.exists() and self.steps > 40:
            Path(Path(self.unfinished).read_text()).write_bytes(b"half")
            time.sleep(60)
        return outputs.logits.square().mean()
"""


@pytest.mark.slow
def test_workers_ended_in_the_middle_of_a_write_leave_no_half_file(tiny, tmp_path, forgotten):
    from calbench.benchmark.core.registry import Plugin

    plugin, where = tmp_path / "stuck.py", tmp_path / "where"
    plugin.write_text(STUCK)
    Plugin.load(plugin)
    suite = load_suite(tiny, settings=["training.epochs=40"], entries=[f"stuck(unfinished={where})"])
    options = RunOptions(results_dir=str(tmp_path / "r"), jobs=2, plugins=(plugin,))
    plan = [work for work in plan_suite(suite, options) if work.cell.recipe.name.startswith("stuck")]
    cell = tmp_path / "r" / "cache" / plan[0].cell.key
    cell.mkdir(parents=True)
    half = cell / ".writing-half"
    where.write_text(str(half))

    def interrupt(work, kind, value):
        deadline = time.monotonic() + 60
        while not half.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert half.exists()
        raise KeyboardInterrupt

    context = Context(options.results_dir, Path(tmp_path), suite.protocol, plugins=(plugin,))
    with pytest.raises(KeyboardInterrupt):
        run_processes(plan, context, interrupt, jobs=2)
    assert not half.exists()


def test_a_cell_that_another_process_holds_is_done_after_it_is_free(tiny, tmp_path, monkeypatch):
    from calbench.benchmark.execution import local as execution

    suite = load_suite(tiny, entries=["cross-entropy"])
    options = RunOptions(results_dir=str(tmp_path / "r"))
    plan, store = plan_suite(suite, options), Store(options.results_dir)
    context = Context(options.results_dir, Path(tmp_path), suite.protocol)
    lock = store.lock(plan[0].cell.key)
    assert lock.__enter__()
    waited = []

    def free(seconds):
        if seconds == execution.BUSY_PAUSE and not waited:  # other threads sleep too, for other times
            waited.append(seconds)
            lock.__exit__(None, None, None)

    monkeypatch.setattr(execution.time, "sleep", free)
    events = []
    execution.run_serial(plan, context, lambda work, kind, value: events.append((kind, value)))
    assert len(waited) == 1
    assert [value for kind, value in events if kind == "end"] == ["done"]
    assert f"process {os.getpid()} on " in next(value for kind, value in events if kind == "busy"), "for whom it waits"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_lock_of_a_dead_process_is_free(tmp_path):
    child = os.fork()
    if child == 0:
        if Store(tmp_path).lock("k").__enter__():
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    with Store(tmp_path).lock("k") as held:
        assert held


def test_status_counts_what_is_done_partly_done_and_failed(tiny, run, tmp_path):
    suite = load_suite(tiny, seeds=[0, 1])
    options = RunOptions(results_dir=str(tmp_path / "results"))
    store = Store(options.results_dir)
    plan = make_plan(suite, lambda dataset: dataset.fingerprint(options.data_root))
    assert status(plan, suite, store, options).line() == "4 cells: 0 done, 4 to do"
    run(tiny, entries=["cross-entropy"])
    store.write_failure(plan[1].cell.key, {"reason": "x"})
    store.write_state(plan[2].cell.key, b"x")
    found = status(plan, suite, store, options)
    assert found.counts == Counter({"to evaluate": 1, "failed": 1, "partial": 1, "missing": 1})
    assert len(found.todo) == 3
    assert found.cost is not None
    assert "about" in found.line()


@pytest.mark.slow
def test_jobs_share_the_cores(tiny, tmp_path):
    suite = load_suite(tiny, entries=["cross-entropy"], seeds=[0, 1])
    context = Context(str(tmp_path), Path(tmp_path), suite.protocol)
    before = dict(os.environ)
    ended = []
    works = plan_suite(suite, RunOptions(results_dir=str(tmp_path)))
    run_processes(works, context, lambda work, kind, value: kind == "end" and ended.append(value), 2)
    assert ended == ["done", "done"]
    assert dict(os.environ) == before


def test_workers_leave_a_cell_alone_for_a_while_that_another_process_has(tmp_path, monkeypatch):
    from types import SimpleNamespace

    from calbench.benchmark.execution import local

    sent, now, replies = [], [0.0], ["busy", "busy", "done"]

    class Connection:
        def send(self, work):
            sent.append(now[0])

        def recv(self):
            return "end", replies.pop(0)

        def close(self):
            pass

    worker = local._Worker(cast("Any", None), cast("Any", Connection()), 0)

    def wait(connections, timeout):
        now[0] += 0.01 if worker.work else timeout
        return connections if worker.work else []

    monkeypatch.setattr(local, "wait", wait)
    monkeypatch.setattr(local, "start_worker", lambda *_: worker)
    monkeypatch.setattr(local.time, "monotonic", lambda: now[0])
    events, work = [], SimpleNamespace(cell=SimpleNamespace(key="k"))
    pool = local._Pool(
        local.deque([cast("Any", work)]), cast("Any", SimpleNamespace(results_dir=str(tmp_path))),
        lambda work, kind, value: events.append(kind), 1,
    )  # fmt: skip
    pool.run()
    assert events == ["busy", "busy", "end"]
    assert all(later - earlier >= local.BUSY_PAUSE for earlier, later in itertools.pairwise(sent))
