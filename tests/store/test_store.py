import json
import os
from dataclasses import replace

import pytest
import torch

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.benchmark.store.folder import WRITING, Folder, write_atomically
from calbench.benchmark.store.manifest import checksum
from calbench.benchmark.store.names import DamagedError
from calbench.benchmark.store.store import Store
from calbench.benchmark.training.state import pack, unpack

KEY = "0123456789abcdef01234567"


@pytest.fixture
def predictions():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(20, 3, generator=generator)
    labels = torch.randint(3, (20,), generator=generator)
    part = SplitPredictions(logits, labels, features=torch.randn(20, 4, generator=generator))
    return Predictions({("last", "calibration"): part, ("last", "test"): part})


@pytest.fixture(params=["local", "memory"])
def store(request, tmp_path):
    if request.param == "local":
        yield Store(tmp_path)
        return
    yield Store(f"memory://calbench-{os.getpid()}-{request.node.name.replace('[', '-').strip(']')}")


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


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "manifest", "other", "no-manifest"])
def test_damage_is_found_and_pruned(tmp_path, predictions, damage):
    store = Store(tmp_path)
    store.write(KEY, predictions, {})
    store.write("f" * 24, predictions, {})
    file = tmp_path / "cache" / KEY / "predictions.safetensors"
    manifest = file.with_name("manifest.json")
    if damage == "truncate":
        file.write_bytes(file.read_bytes()[:-7])
    elif damage == "flip":
        data = bytearray(file.read_bytes())
        data[-1] ^= 1
        file.write_bytes(bytes(data))
    elif damage == "remove":
        file.unlink()
    elif damage == "manifest":
        manifest.write_text("{")
    elif damage == "other":
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format": "x"}))
    else:
        manifest.unlink()
    assert [finding.key for finding in store.verify()] == [KEY]
    if damage not in ("no-manifest",):
        with pytest.raises(DamagedError, match=KEY):
            store.predictions(KEY)
    assert store.prune() == [KEY]
    assert store.cells() == ["f" * 24]
    assert store.verify() == []


def other_cell(tmp_path, store, predictions):
    other = Predictions({address: replace(part, logits=-part.logits) for address, part in predictions.splits.items()})
    store.write("f" * 24, other, {})
    return tmp_path / "cache" / KEY, tmp_path / "cache" / ("f" * 24)


def swap(first, second):
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def test_what_was_swapped_between_cells_is_found(tmp_path, predictions):
    store = Store(tmp_path)
    store.write(KEY, predictions, {})
    mine, theirs = other_cell(tmp_path, store, predictions)
    for key in (KEY, "f" * 24):
        store.write_evaluation(key, "e", {"rows": [key]}, {})
        store.write_evaluation(key, "g", {"rows": [key]}, {})
        store.write_state(key, pack({"key": key}))
    swap(mine / "evaluation-e.safetensors", theirs / "evaluation-e.safetensors")  # between cells
    swap(mine / "state.safetensors", theirs / "state.safetensors")
    assert [finding.remedy for finding in store.verify()] == ["evaluation-e.safetensors", "state.safetensors"] * 2
    for read in (lambda: store.evaluation(KEY, "e"), lambda: store.state(KEY)):
        with pytest.raises(DamagedError, match="of another cell"):
            read()
    swap(mine / "evaluation-e.safetensors", theirs / "evaluation-e.safetensors")
    swap(mine / "state.safetensors", theirs / "state.safetensors")
    assert store.verify() == []
    swap(mine / "evaluation-e.safetensors", mine / "evaluation-g.safetensors")  # between entries
    assert len(store.verify()) == 2
    swap(mine / "evaluation-e.safetensors", mine / "evaluation-g.safetensors")
    for file in os.listdir(mine):
        swap(mine / file, theirs / file)  # the whole folder
    assert store.status(KEY) == "damaged"
    assert {finding.problem for finding in store.verify()} >= {"the manifest belongs to another cell"}


def test_evaluations_of_other_predictions_are_found(tmp_path, predictions):
    """As when the folders of two machines are merged: the same cell, trained on each."""
    store = Store(tmp_path)
    store.write(KEY, predictions, {})
    store.write_evaluation(KEY, "e", {"rows": []}, {})
    other_cell(tmp_path, store, predictions)
    store.write(KEY, store.predictions("f" * 24), {})
    with pytest.raises(DamagedError, match="of another cell"):
        store.evaluation(KEY, "e")


@pytest.mark.parametrize(
    "change", [{"seconds": "long"}, {"history": [3]}, {"name": [1]}, {"predictions": 7}, {"checkpoints": {"last": "x"}}]
)
def test_a_manifest_with_a_right_checksum_and_wrong_types_is_damaged(tmp_path, predictions, change):
    store = Store(tmp_path)
    store.write(KEY, predictions, {"seconds": 1.0, "history": []})
    changed = store.manifest(KEY) | change
    store.folder.write(f"cache/{KEY}/manifest.json", json.dumps(changed | {"sha256": checksum(changed)}).encode())
    with pytest.raises(DamagedError, match=f"malformed: {next(iter(change))}"):
        store.manifest(KEY)
    assert store.status(KEY) == "damaged"


def test_an_altered_manifest_is_damaged(tmp_path, predictions):
    store = Store(tmp_path)
    store.write(KEY, predictions, {"commit": "abc"})
    file = tmp_path / "cache" / KEY / "manifest.json"
    file.write_text(file.read_text().replace("abc", "abd"))
    assert store.status(KEY) == "damaged"


def test_stray_files_are_left_alone_and_break_nothing(tmp_path, predictions, calbench):
    store = Store(tmp_path)
    store.write(KEY, predictions, {})
    (tmp_path / "cache/notes.txt").write_text("mine")
    (tmp_path / "cache/.DS_Store").write_text("")
    (tmp_path / "cache/backup").mkdir()
    (tmp_path / "cache" / ("a" * 24)).write_text("a file named like a cell")
    (tmp_path / "cache" / KEY / "evaluation-x.safetensors").mkdir()
    (tmp_path / "cache" / KEY / "stray").mkdir()
    assert [finding.problem for finding in store.verify()] == ["evaluation-x.safetensors is a folder"]
    assert calbench("cache", "list", "--results-dir", tmp_path)[0] == 0
    assert calbench("cache", "verify", "--results-dir", tmp_path)[0] == 1
    assert calbench("cache", "prune", "--results-dir", tmp_path)[0] == 0
    assert calbench("cache", "verify", "--results-dir", tmp_path)[0] == 0
    assert store.status(KEY) == "done"
    assert (tmp_path / "cache/notes.txt").read_text() == "mine"
    assert (tmp_path / "cache/backup").is_dir()


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


@pytest.mark.parametrize(
    ("before", "after"), [(b"48.717", b"11.717"), (b"\x80\x3f", b"\x80\x3e"), (b"sha256 ", b"SHA256 ")]
)
def test_an_altered_evaluation_is_found_and_it_alone_removed(tmp_path, predictions, before, after):
    store = Store(tmp_path)
    store.write(KEY, predictions, {})
    store.write_evaluation(KEY, "e", {"rows": [{"value": 48.717}]}, {"last/test/ece": torch.ones(3)})
    store.write_evaluation(KEY, "whole", {"rows": []}, {})
    file = tmp_path / "cache" / KEY / "evaluation-e.safetensors"
    assert before in file.read_bytes()
    file.write_bytes(file.read_bytes().replace(before, after, 1))
    assert [finding.key for finding in store.verify()] == [KEY]
    assert store.prune() == []
    assert [store.evaluation_status(KEY, name) for name in ("e", "whole")] == ["missing", "done"]
    assert store.status(KEY) == "done"
    assert store.verify() == []


def test_an_altered_state_is_found_and_removed(tmp_path):
    store = Store(tmp_path)
    store.write_state(KEY, pack({"epoch": 3}))
    file = tmp_path / "cache" / KEY / "state.safetensors"
    file.write_bytes(file.read_bytes().replace(b": 3", b": 4"))
    assert store.status(KEY) == "partial"
    [finding] = store.verify()
    assert "state.safetensors: truncated, altered" in finding.problem
    store.prune()
    assert store.status(KEY) == "missing"


def test_what_a_newer_version_wrote_is_left_alone(tmp_path, predictions):
    store = Store(tmp_path)
    store.write(KEY, predictions, {})
    file = tmp_path / "cache" / KEY / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"format": 99}))
    [finding] = store.verify()
    assert "a newer calbench wrote it (format 99; this version reads 2), and it is kept" in finding.problem
    assert store.prune() == []
    assert store.status(KEY) == "done"


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


def test_state_packs_nested_data_with_shared_tensors():
    weight = torch.arange(4.0)
    state = {"epoch": 3, "w": weight, "again": weight, "groups": [{"lr": 0.1, "betas": (0.9, 0.99)}], 7: None}
    with pytest.raises(TypeError):
        pack({"x": object()})
    back = unpack(pack({"s": {"state": {0: {"step": torch.tensor(2.0)}}, **{k: state[k] for k in state if k != 7}}}))
    assert back["s"]["state"][0]["step"].item() == 2
    assert back["s"]["again"].tolist() == [0, 1, 2, 3]
    assert back["s"]["groups"] == [{"lr": 0.1, "betas": [0.9, 0.99]}]


@pytest.mark.parametrize("data", [b"", b"x" * 100, pack({"a": 1})[:-3], pack({"a": torch.ones(9)})[:-5]])
def test_damaged_states_are_value_errors(data):
    with pytest.raises(ValueError, match="no saved state|header|not a readable file|Expecting"):
        unpack(data)
