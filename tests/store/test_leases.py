"""Locks at object stores: one process at a time, and no lease of a dead process lasts."""

import threading
import uuid

import fsspec
import pytest

from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.execution.progress import Reporter
from calbench.benchmark.execution.runner import RunOptions, run_suite
from calbench.benchmark.store import leases
from calbench.benchmark.store.folder import Folder
from calbench.benchmark.store.store import Store

KEY = "0123456789abcdef01234567"


@pytest.fixture
def address():
    return f"memory://{uuid.uuid4().hex}"


def test_one_at_a_time(address):
    first, second = Folder(address), Folder(address)
    assert first.has_locks
    with first.lock("cache/.locks/a") as taken:
        assert taken
        with second.lock("cache/.locks/a") as again, second.lock("cache/.locks/b") as other:
            assert (again, other) == (False, True)
        assert second.holder("cache/.locks/a").startswith("process ")
    with second.lock("cache/.locks/a") as taken:
        assert taken
    assert first.names("cache/.locks") == []


def test_a_lease_that_nobody_renews_expires_and_a_renewed_one_does_not(address, monkeypatch):
    fs, path = fsspec.filesystem("memory"), f"{address.removeprefix('memory:/')}/cache/.locks/a"
    now = [1000.0]
    monkeypatch.setattr(leases.time, "monotonic", lambda: now[0])
    assert leases._create(fs, path, leases._content("dead"))
    for seconds, expected in ((0, False), (leases.LEASE_SECONDS - 1, False), (2, True)):
        now[0] += seconds
        with leases.lease(fs, path) as taken:
            assert taken == expected
    assert leases._create(fs, path, leases._content("alive"))
    for _ in range(5):
        with leases.lease(fs, path) as taken:
            assert not taken
        now[0] += 0.9 * leases.LEASE_SECONDS
        fs.pipe_file(path, leases._content("alive"))


def test_a_lease_is_renewed_while_it_is_used_and_of_another_never_removed(address, monkeypatch):
    fs, path = fsspec.filesystem("memory"), f"{address.removeprefix('memory:/')}/cache/.locks/a"
    renewed = threading.Event()
    monkeypatch.setattr(leases, "LEASE_SECONDS", 0.04)
    with leases.lease(fs, path) as taken:
        assert taken
        first = fs.cat_file(path)
        for _ in range(1000):
            if fs.cat_file(path) != first:
                break
            renewed.wait(0.01)
        assert fs.cat_file(path) != first
        fs.pipe_file(path, leases._content("of another"))
        renewed.wait(0.1)
    assert b"of another" in fs.cat_file(path)


def test_the_record_with_the_checksums_is_the_last_file_that_is_published(address, monkeypatch):
    written = []
    monkeypatch.setattr(Folder, "write", lambda self, name, data: written.append(name))
    with Folder(address).publishing("suite") as folder:
        (folder / "tables").mkdir()
        for name in ("run.json", "a.csv", "results.csv", "tables/z.md"):
            (folder / name).write_text("x")
    assert written == ["suite/a.csv", "suite/results.csv", "suite/tables/z.md", "suite/run.json"]


@pytest.mark.slow
def test_two_runs_at_once_compute_every_cell_once(tiny, address, monkeypatch):
    suite, written = load_suite(tiny, settings=["training.epochs=1"]), []
    write = Store.write
    monkeypatch.setattr(Store, "write", lambda self, key, *rest: (written.append(key), write(self, key, *rest)))
    runs = [threading.Thread(target=run_suite, args=(suite, RunOptions(results_dir=address, jobs=1))) for _ in range(2)]
    for one in runs:
        one.start()
    for one in runs:
        one.join()
    assert sorted(written) == Store(address).cells()
    assert Folder(address).names("cache/.locks") == []


def test_a_store_that_overwrites_has_no_locks_and_the_plan_says_so(tiny, address, monkeypatch):
    monkeypatch.setattr(leases, "_create", lambda fs, path, data: True)
    suite, lines = load_suite(tiny, entries=["cross-entropy"]), []
    monkeypatch.setattr(Reporter, "plan", lambda self, suite, line: lines.append(line))
    monkeypatch.setattr("calbench.benchmark.execution.runner.execute", lambda *_: None)
    run_suite(suite, RunOptions(results_dir=address, jobs=1))
    assert lines[0].endswith("this address has no locks: start one at a time")
    with Store(address).lock(KEY) as first, Store(address).lock(KEY) as second:
        assert (first, second) == (True, True)


def test_an_error_of_the_store_at_the_end_of_a_lease_does_not_replace_the_result(address, monkeypatch):
    class UnreachableError(Exception):
        """As the packages of object stores raise: no OSError."""

    def fail(*_):
        raise UnreachableError

    fs, path = fsspec.filesystem("memory"), f"{address.removeprefix('memory:/')}/cache/.locks/a"
    with leases.lease(fs, path) as taken:
        assert taken
        monkeypatch.setattr(fs, "cat_file", fail)
    assert leases.holder(fs, path) == "another process"
