"""A disk that fills at any write, odd names of folders, few open files, little memory."""

import errno
import os
import re
import resource
import subprocess
import sys
import tempfile

import pytest
from killing import left_in, same_predictions

from calbench.benchmark.core import files
from calbench.benchmark.results.results import Results
from calbench.benchmark.store.folder import WRITING
from calbench.benchmark.store.store import Store

pytestmark = pytest.mark.slow
ODD_NAMES = ["with blanks", "ünï-日本", "100%", "a#b?c", "-leading", "new\nline", "'quoted\"", "$HOME", "[x]*", "a:b"]


def test_a_disk_that_fills_at_any_write(calbench, tinier, tmp_path, monkeypatch):
    options = ["--jobs", 1]
    assert calbench("run", tinier, *options, "--results-dir", "whole")[0] == 0
    sync, number = os.fsync, 0
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    while True:
        number += 1
        left = [number]

        def full(handle, left=left):
            left[0] -= 1
            if left[0] <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            sync(handle)

        with monkeypatch.context() as patch:
            patch.setattr(files.os, "fsync", full)
            status, _, err = calbench("run", tinier, *options, "--results-dir", f"full-{number}")
        folder = tmp_path / f"full-{number}"
        assert not list(folder.rglob(f"{WRITING}*"))
        assert all("interrupted write" in finding.problem for finding in Store(folder).verify())
        if status == 0:
            break
        assert status == 2
        assert re.search("no space left on the disk|No space left on device", err)
        assert not list(folder.rglob("failure.json"))
        assert calbench("run", tinier, *options, "--results-dir", f"full-{number}")[0] == 0
        same_predictions(tmp_path / "whole", folder)
    assert number > 5
    assert left_in(temporary) == []
    print(f"full disk: at each of {number - 1} writes one message, and the next run went on to the same bits")


def test_odd_names_of_folders(calbench, tinier, tmp_path):
    options = ["--jobs", "1"]
    assert calbench("run", tinier, *options, "--results-dir", "plain")[0] == 0
    for name in ODD_NAMES:
        assert calbench("run", tinier, *options, f"--results-dir={name}")[0] == 0, name
        assert calbench("report", "tiny", f"--results-dir={name}", "--format", "latex")[0] == 0, name
        assert calbench("cache", "verify", f"--results-dir={name}")[0] == 0, name
        same_predictions(tmp_path / "plain", tmp_path / name)
        [results] = (tmp_path / name).glob("tiny*/run.json")
        assert Results.load(results.parent).edited == ()
    print(f"names of folders: {len(ODD_NAMES)} odd ones, the same bits in each")


def test_few_open_files(tinier, run, tmp_path):
    run(tinier)
    limit = (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    few = subprocess.run(
        [sys.executable, "-m", "calbench", "run", tinier, "--jobs", "2", "--results-dir", tmp_path / "few"],
        capture_output=True, text=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limit),
    )  # fmt: skip
    assert few.returncode == 0, few.stderr
    same_predictions(tmp_path / "results", tmp_path / "few")


def test_little_memory_is_said_in_one_line(tiny, tmp_path):
    little = subprocess.run(
        [sys.executable, "-m", "calbench", "run", tiny, "--jobs", "1"], capture_output=True, text=True, cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)),
    )  # fmt: skip
    assert little.returncode == 2, little.stderr
    assert "Traceback" not in little.stderr
    assert "not enough memory" in little.stderr
