"""What is written into a store comes back; locks, pruning, safe names."""

import os

import pytest
import torch

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.predictions import Predictions
from calbench.benchmark.store.folder import WRITING, Folder, write_atomically
from calbench.benchmark.store.names import DamagedError
from calbench.benchmark.store.store import Store

KEY = "0123456789abcdef01234567"


def test_what_was_written_comes_back(store, predictions):
    assert store.status(KEY) == "missing"
    store.write(KEY, predictions, {"name": "a cell"})
    assert store.status(KEY) == "done"
    assert store.manifest(KEY)["name"] == "a cell"
    back = store.predictions(KEY)
    assert torch.equal(back["last", "test"].logits, predictions["last", "test"].logits)
    assert back["last", "test"].posterior is None
    assert store.cells() == [KEY]
    assert store.verify() == []


def test_a_failure_is_no_result_and_a_result_clears_it(store, predictions):
    store.write_failure(KEY, {"reason": "diverged"})
    assert store.status(KEY) == "failed"
    assert store.failure(KEY)["reason"] == "diverged"
    store.write(KEY, predictions, {})
    assert store.status(KEY) == "done"


def test_prune_looks_again_under_the_lock(tmp_path, predictions, monkeypatch):
    """A cell that is written while prune looks at the others is not removed."""
    store, other = Store(tmp_path), "f" * 24
    for key in (KEY, other):
        store.write_failure(key, {"reason": "diverged"})
    lock = Store.lock

    def finished_meanwhile(self, key):
        if key == other:
            store.write(other, predictions, {})
        return lock(self, key)

    monkeypatch.setattr(Store, "lock", finished_meanwhile)
    assert Store(tmp_path).prune() == [KEY]
    assert store.status(other) == "done"


def test_prune_keeps_what_it_is_told_to(tmp_path, predictions):
    store = Store(tmp_path)
    for key in (KEY, "f" * 24):
        store.write(key, predictions, {})
    assert store.prune(keep={KEY}) == ["f" * 24]
    assert store.cells() == [KEY]


def test_prune_sweeps_up_after_killed_writers_and_leaves_alone_who_is_at_work(tmp_path, predictions):
    store = Store(tmp_path)
    store.write(KEY, predictions, {})
    half = tmp_path / "cache" / KEY / f"{WRITING}abc"
    half.write_bytes(b"half")
    with Store(tmp_path).lock(KEY):
        assert store.prune(keep=set()) == []
        assert half.exists()
    assert store.prune() == []
    assert not half.exists()
    assert store.status(KEY) == "done"


def test_a_lock_is_held_once_and_freed(tmp_path):
    first, second = Store(tmp_path), Store(tmp_path)
    with first.lock(KEY) as held:
        assert held
        with second.lock(KEY) as again:
            assert not again
    with second.lock(KEY) as held:
        assert held


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a\\b", "", "a\0b"])
def test_names_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(InputError, match="leave the results folder"):
        Folder(tmp_path).write(name, b"x")


def test_an_interrupted_write_leaves_the_old_content(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_unwritable_folder_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="results folder"):
        Store(tmp_path / "file" / "results")


def test_evaluations_come_back_and_damaged_ones_do_not(tmp_path, predictions):
    store = Store(tmp_path)
    store.write(KEY, predictions, {})
    store.write_evaluation(KEY, "e", {"rows": [{"value": 0.1}]}, {"last/test/ece": torch.ones(3)})
    record, tensors = store.evaluation(KEY, "e")
    assert record == {"rows": [{"value": 0.1}]}
    assert tensors["last/test/ece"].tolist() == [1, 1, 1]
    file = tmp_path / "cache" / KEY / "evaluation-e.safetensors"
    file.write_bytes(file.read_bytes()[:20])
    with pytest.raises(DamagedError, match="evaluation-e.safetensors: truncated, altered"):
        store.evaluation(KEY, "e")
    assert store.evaluation(KEY, "other") is None


def test_failures_of_cells_and_evaluations_are_forgotten_together(tmp_path, predictions):
    store = Store(tmp_path)
    store.write(KEY, predictions, {})
    store.write_failed_evaluation(KEY, "e", {"reason": "out of luck"})
    assert store.evaluation_status(KEY, "e") == "failed"
    assert store.evaluation_failure(KEY, "e") == {"reason": "out of luck"}
    store.forget_failures(KEY)
    assert store.evaluation_status(KEY, "e") == "missing"
    assert store.status(KEY) == "done"


def test_predictions_of_strange_names_are_refused():
    with pytest.raises(InputError, match="unexpected tensor name"):
        Predictions.from_tensors({"last/test/evil": torch.ones(1)})
    with pytest.raises(InputError, match="lacks logits or labels"):
        Predictions.from_tensors({"last/test/logits": torch.ones(1, 2)})


@pytest.mark.parametrize("address", ["github://", "reference://", "data://,x", "s4://bucket/x", "zip://a.zip"])
def test_an_address_that_cannot_be_used_is_named_in_one_line(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="^results folder "):
        Folder(address).check_writable()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a::b", "simplecache::x", "a:b", "::", "~x", "100%", "a?b#c"])
def test_a_path_is_a_folder_of_that_name_whatever_its_characters(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Folder(name if name[0] != "~" else f"./{name}").write("a/b", b"1")
    assert (tmp_path / name / "a/b").read_bytes() == b"1"
