"""Data that change between plan and work: no result under the key of other data."""

import numpy as np
import pytest

from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core.errors import CellError
from calbench.benchmark.data.splits import prepare_data
from calbench.benchmark.execution.options import RunOptions
from calbench.benchmark.execution.runner import plan_suite

SUITE = """\
datasets: [{array-file: {path: %s, classes: 2, title: A}}]
backbones: ["vit-micro(width=16, heads=2, depth=1)"]
entries: [cross-entropy]
"""


def write(path, seed):
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 2
    np.savez(path, train_images=images, train_labels=labels, test_images=images, test_labels=labels)


def test_data_that_changed_since_the_plan_are_refused(tmp_path):
    path, suite_file = tmp_path / "a.npz", tmp_path / "s.yaml"
    write(path, 0)
    suite_file.write_text(SUITE % path)
    [work] = plan_suite(load_suite(str(suite_file)), RunOptions(data_root=tmp_path))
    assert len(prepare_data(work.cell, tmp_path).evaluated["test"]) == 40
    write(path, 1)
    [again] = plan_suite(load_suite(str(suite_file)), RunOptions(data_root=tmp_path))
    assert again.cell.key != work.cell.key
    write(path, 2)
    with pytest.raises(CellError, match="the files of A are not those that the run was planned with"):
        prepare_data(again.cell, tmp_path)


def test_a_tilde_is_expanded_once(tmp_path, monkeypatch, calbench):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    path = tmp_path / "s.yaml"
    write(tmp_path / "a.npz", 0)
    path.write_text(SUITE % (tmp_path / "a.npz"))
    settings = ["--name", "s", "--set", "training.epochs=1", "--set", "protocol.bootstrap=0"]
    status, out, err = calbench("run", path, "--results-dir=~/res", "--data-dir=~/data", "--jobs", "1", *settings)
    assert status == 0, err
    assert (tmp_path / "home/res/s/results.csv").is_file()
    assert len(list((tmp_path / "home/res/cache").glob("*/manifest.json"))) == 1
    assert not (tmp_path / "~").exists()
    status, out, err = calbench("cache", "list", "--results-dir=~/res")
    assert "done" in out
