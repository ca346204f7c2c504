"""Disks that are full or cannot be written: one message, no cell blamed, and the next run goes on."""

import errno
import os
import subprocess

import pytest
from fast_set import slowly
from killing import fork_command

from calbench.benchmark.store import folder


@pytest.mark.parametrize(
    ("number", "reason"), [(errno.EROFS, "Read-only file system"), (errno.ENOSPC, "No space left on device")]
)
def test_a_folder_that_cannot_be_written_is_said_before_anything_runs(calbench, tiny, monkeypatch, number, reason):
    from calbench.benchmark.execution import runner

    def refuse(path, data):
        raise OSError(number, reason, str(path))

    monkeypatch.setattr(folder, "write_atomically", refuse)
    monkeypatch.setattr(runner, "execute", None)
    status, _, err = calbench("run", tiny)
    assert status == 2
    assert f"results folder runs: {reason}" in err


@pytest.mark.parametrize(
    ("large", "fitting", "before"),
    [*slowly((2_000, 0, "2 cells: 0 done")), (10_000, 1, "2 cells: 1 done|1 to evaluate")],
    ids=["full from the start", "fills up"],
)
def test_a_full_disk_ends_the_run_and_the_next_one_goes_on(calbench, tiny, monkeypatch, large, fitting, before):
    """Files up to `large` bytes still fit, as on a real disk, and of larger ones the first `fitting`."""
    write, written = folder.write_atomically, []

    def fills_up(path, data):
        if len(data) > large:
            written.append(path)
        if len(written) > fitting and (fitting or len(data) > large):
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, data)

    monkeypatch.setattr(folder, "write_atomically", fills_up)
    status, _, err = calbench("run", tiny, "--jobs", 1)
    assert status == 2
    assert "no space left on the disk" in err
    monkeypatch.setattr(folder, "write_atomically", write)
    assert calbench("cache", "verify")[0] == 0
    status, _, err = calbench("run", tiny, "--jobs", 1)
    assert status == 0
    assert any(text in err for text in before.split("|"))


@pytest.mark.slow
def test_a_full_disk_ends_a_run_of_several_processes_with_one_message(tiny, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "none", small]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("no small disk can be made here")
    try:
        with (tmp_path / "errors").open("wb") as errors:
            full = fork_command(["run", tiny, "--jobs", "2", "--results-dir", str(small)], "full", errors)
            assert full.wait(300) == 2
        text = (tmp_path / "errors").read_text()
        assert text.count("no space left on the disk") == 1
        assert "Traceback" not in text
        assert not list(small.rglob("failure.json"))
    finally:
        subprocess.run(["umount", small], check=False)
