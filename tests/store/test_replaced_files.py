"""Every kind of stored file cut, altered, swapped, or replaced by what is no file: no traceback, no wrong number."""

import os
import signal

import pytest

from calbench.benchmark.results.results import Results
from calbench.benchmark.store.store import Store
from calbench.benchmark.training.state import pack

pytestmark = pytest.mark.slow
OPTIONS = ["--set", "keep=weights"]


def replaced_by_link(target):
    def replace(path, other):
        path.unlink()
        path.symlink_to(other if target == "other" else target)

    return replace


def replaced_by_folder(path, other):
    path.unlink()
    path.mkdir()
    (path / "inside").write_text("x")


def replaced_by_pipe(path, other):
    path.unlink()
    os.mkfifo(path)


def cut_to(part):
    return lambda path, other: path.write_bytes(path.read_bytes()[: int(len(path.read_bytes()) * part)])


def flipped(path, other):
    data = bytearray(path.read_bytes() or b"x")
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def swapped(path, other):
    mine = path.read_bytes()
    path.write_bytes(other.read_bytes())
    other.write_bytes(mine)


WAYS = {
    "emptied": cut_to(0), "head": cut_to(0.01), "half": cut_to(0.5), "last byte": cut_to(0.9999), "flipped": flipped,
    "longer": lambda path, other: path.write_bytes(path.read_bytes() + b"x"), "swapped": swapped,
    "link to the other": replaced_by_link("other"), "link to nothing": replaced_by_link("/nowhere/at/all"),
    "link to a device": replaced_by_link("/dev/zero"), "link to a folder": replaced_by_link("/etc"),
    "folder": replaced_by_folder, "pipe": replaced_by_pipe, "removed": lambda path, other: path.unlink(),
}  # fmt: skip


def kinds(folder):
    """One file of each kind of a cell by its name, and the like of another cell."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    first_of = {name.partition("-")[0]: name for name in reversed(names)}
    return sorted(first_of.values())


@pytest.fixture
def no_hang():
    """A command that reads a pipe would wait for ever."""
    signal.alarm(500)
    yield
    signal.alarm(0)


def test_replaced_files_of_cells_give_no_traceback_and_no_wrong_number(calbench, tinier, tmp_path, no_hang):
    run = ["run", tinier, "--jobs", "1", "--results-dir", "r", "--name", "tiny", *OPTIONS]
    assert calbench(*run)[0] == 0
    before, store, counts = Results.load(tmp_path / "r/tiny"), Store(tmp_path / "r"), 0
    first, second = (tmp_path / "r/cache" / key for key in store.cells())
    for number, file in enumerate(kinds(first)):
        for how, change in list(WAYS.items())[number % 2 :: 2]:  # every way, for every other kind of file
            where, path = f"{file}, {how}", first / file
            other = second / file if (second / file).exists() else next(second.glob("evaluation-*"))
            whole, theirs = path.read_bytes(), other.read_bytes()
            change(path, other)
            counts += 1
            verified = calbench("cache", "verify", "--results-dir", "r")[0]
            assert verified in (0, 1), where
            if how not in ("removed", "link to nothing") and file != "log.txt":
                assert verified == (0 if how == "link to the other" and path.is_dir() else 1), where
            if counts % 4 == 1:  # of 7 ways another one for each kind of file
                assert calbench("cache", "list", "--results-dir", "r")[0] == 0, where
                assert calbench("report", "tiny", "--results-dir", "r")[0] == 0, where
                assert calbench("cache", "prune", "--results-dir", "r")[0] == 0, where
                assert calbench("cache", "verify", "--results-dir", "r")[0] == 0, where
            (tmp_path / "r/tiny/run.json").unlink()  # what is done is otherwise not looked at again
            assert calbench(*run)[0] == 0, where
            after = Results.load(tmp_path / "r/tiny")
            assert after.table.equals(before.table), where
            if file in ("weights.safetensors", "log.txt", "predictions.safetensors"):  # not made again by themselves
                store.folder.remove(f"cache/{first.name}/{file}")
                path.write_bytes(whole)
            if how == "swapped":
                other.write_bytes(theirs)
            assert store.verify() == [], where
    print(f"{counts} files of {len(kinds(first))} kinds replaced in {len(WAYS)} ways")


@pytest.mark.parametrize("how", WAYS)
def test_replaced_states_are_found_and_not_used(tmp_path, how, calbench, no_hang):
    store, keys = Store(tmp_path), ("a" * 24, "b" * 24)
    for key in keys:
        store.write_state(key, pack({"epoch": 3, "key": key}))
    first, second = (tmp_path / "cache" / key / "state.safetensors" for key in keys)
    WAYS[how](first, second)
    expected = 0 if how in ("removed", "link to nothing") else 1
    assert calbench("cache", "verify", "--results-dir", tmp_path)[0] == expected
    assert calbench("cache", "prune", "--results-dir", tmp_path)[0] == 0
    assert calbench("cache", "verify", "--results-dir", tmp_path)[0] == 0


@pytest.mark.parametrize("file", ["run.json", "results.csv", "comparisons.csv", "diagrams.json", "curves.json"])
def test_replaced_files_of_results_are_named(calbench, finished, tmp_path, file, no_hang):
    whole = (finished / "tiny" / file).read_bytes()
    for how, change in WAYS.items():
        if how == "swapped":
            continue
        other = tmp_path / "other"
        other.write_bytes(b"{}" if file.endswith("json") else b"a,b\n1,2\n")
        path = finished / "tiny" / file
        change(path, other)
        status, _, error = calbench("report", "tiny", "--results-dir", "runs")
        assert status == 2 or (status == 0 and Results.load(finished / "tiny").edited == (file,)), (how, error)
        assert "\n" not in error.strip() or status == 0, (how, error)
        if path.is_dir() and not path.is_symlink():
            (path / "inside").unlink()
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(whole)
    assert calbench("report", "tiny", "--results-dir", "runs")[0] == 0
