"""Damaged, swapped and stray files are found; only what cannot be used is removed."""

import json
import os
from dataclasses import replace

import pytest
import torch

from calbench.benchmark.predictions.predictions import Predictions
from calbench.benchmark.store.manifest import checksum
from calbench.benchmark.store.names import DamagedError
from calbench.benchmark.store.store import Store
from calbench.benchmark.training.state import pack

KEY = "0123456789abcdef01234567"


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
    assert [finding.problem for finding in store.verify()] == ["evaluation-x.safetensors is no regular file"]
    assert calbench("cache", "list", "--results-dir", tmp_path)[0] == 0
    assert calbench("cache", "verify", "--results-dir", tmp_path)[0] == 1
    assert calbench("cache", "prune", "--results-dir", tmp_path)[0] == 0
    assert calbench("cache", "verify", "--results-dir", tmp_path)[0] == 0
    assert store.status(KEY) == "done"
    assert (tmp_path / "cache/notes.txt").read_text() == "mine"
    assert (tmp_path / "cache/backup").is_dir()


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
