"""What a Dask worker refuses and how often it looks again; the cluster itself is in test_endurance."""

import logging
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core import environment
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.execution import cluster
from calbench.benchmark.execution.options import RunOptions
from calbench.benchmark.execution.produce import Context
from calbench.benchmark.execution.runner import plan_suite


class Future:
    def __init__(self, function, arguments):
        self.status = "finished"
        try:
            self.value = function(*arguments)
        except Exception as error:
            self.status, self.value = "error", error

    def result(self):
        return self.value

    exception = result


class Client:
    """Runs what is submitted at once, as a worker with the code that `environment` says."""

    def __init__(self):
        self.submitted = []

    def submit(self, function, *arguments, priority=0, **options):
        self.submitted.append((arguments[-1], priority))
        return Future(function, arguments)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


class Queue(list):
    add = list.append


@pytest.fixture
def scheduler(tiny, tmp_path, monkeypatch):
    distributed = pytest.importorskip("distributed")
    client = Client()
    monkeypatch.setattr(cluster, "_client", lambda *_: client)
    monkeypatch.setattr(distributed, "as_completed", lambda futures: Queue(futures))
    suite = load_suite(tiny)
    plan = plan_suite(suite, RunOptions(results_dir=str(tmp_path / "r")))[:1]
    context = Context(str(tmp_path / "r"), tmp_path, suite.protocol)

    def run(event=lambda *_: None):
        cluster.run_dask(plan, context, event, "tcp://127.0.0.1:1")
        return client.submitted

    return run


def test_a_worker_with_other_code_is_refused_in_one_line(scheduler, monkeypatch, tmp_path):
    codes = iter(["ours", "theirs"])
    monkeypatch.setattr(environment, "code_digest", lambda: next(codes))
    with pytest.raises(InputError, match="a Dask worker has other code") as error:
        scheduler()
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "r").glob("cache/*/failure.json")), "the cell is not at fault"


def test_a_busy_cell_is_looked_at_again_with_growing_pauses(scheduler, monkeypatch):
    outcomes, waited, events = iter(["busy"] * 6 + ["done"]), [], []
    monkeypatch.setattr(cluster, "process", lambda *_: next(outcomes))
    monkeypatch.setattr(cluster.time, "sleep", waited.append)
    submitted = scheduler(lambda work, kind, value: events.append(kind))
    assert waited == [0, 1, 2, 4, 8, 10, 10]
    assert submitted == [(0, 0), (1, -1), (2, -1), (4, -1), (8, -1), (10, -1), (10, -1)]
    assert events == ["busy"] * 6 + ["end"]


def test_a_worker_of_several_threads_computes_one_cell_at_a_time(monkeypatch, tmp_path):
    """The seed of torch's random numbers is one for all threads: two cells at once would get each other's weights."""
    running, most = [], []

    def process(*_):
        running.append(1)
        most.append(len(running))
        time.sleep(0.05)
        running.pop()
        return "done"

    monkeypatch.setattr(cluster, "process", process)
    payload = pickle.dumps((None, Context(str(tmp_path), tmp_path, None)))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: cluster.work_remotely((), payload, cluster.code_of(())), range(4)))
    assert most == [1, 1, 1, 1]


def test_the_code_of_a_plugin_counts(tmp_path):
    plugin = tmp_path / "p.py"
    plugin.write_text("x = 1")
    before = cluster.code_of((plugin,))
    plugin.write_text("x = 2")
    assert cluster.code_of((plugin,)) != before


@pytest.mark.parametrize(
    ("address", "warned"),
    [("tcp://127.0.0.1:8786", False), ("tcp://localhost:1", False), ("tcp://[::1]:1", False),
     ("tls://node7:8786", False), ("slurm", False), ("tcp://node7:8786", True), ("tcp://[fe80::1]:1", True)],
)  # fmt: skip
def test_an_unencrypted_address_on_another_host_is_warned_of(address, warned, caplog):
    with caplog.at_level(logging.WARNING, "calbench"):
        cluster.warn_of_plain_text(address)
    assert bool(caplog.records) == warned


def test_tls_without_certificates_is_refused_in_one_line(monkeypatch):
    pytest.importorskip("distributed")
    for part in ("CA_FILE", "CLIENT__CERT", "CLIENT__KEY"):
        monkeypatch.delenv(f"DASK_DISTRIBUTED__COMM__TLS__{part}", raising=False)
    with pytest.raises(InputError, match="needs the certificates of docs/scale") as error:
        cluster._connected("tls://127.0.0.1:9")
    assert "\n" not in str(error.value)


def test_the_jobs_of_a_slurm_cluster_end_with_the_run(monkeypatch):
    ended = []

    class Closing:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            return self

        def __exit__(self, *_):
            ended.append(self.name)

    monkeypatch.setattr(cluster, "_slurm", lambda options: Closing("cluster"))
    monkeypatch.setattr("distributed.Client", lambda of: Closing(f"client of the {of.name}"))
    with pytest.raises(KeyboardInterrupt), cluster._client("slurm", None):
        raise KeyboardInterrupt
    assert ended == ["client of the cluster", "cluster"]
