"""Ctrl-C at every step of taking and releasing a lock: it is free afterwards, and no note names an owner."""

import contextlib
import os
import signal
import subprocess
import sys
import uuid

import pytest

from calbench.benchmark.core import stopping
from calbench.benchmark.store import folder as folders
from calbench.benchmark.store import leases
from calbench.benchmark.store.folder import Folder

NAME = "cache/.locks/a"
OURS = {module.__file__ for module in (stopping, leases, folders)}


def interrupted_at(step, folder):
    """Take a lock and release it, with a KeyboardInterrupt at the line or call of that number in our code.

    Returns:
        Where it came, or None if there are fewer steps.
    """
    left, where = [step], []

    def trace(frame, event, _):
        if frame.f_code.co_filename not in OURS:
            return None
        if event in ("call", "line"):
            left[0] -= 1
            if left[0] == 0:
                where.append(f"{event} in {frame.f_code.co_name}, line {frame.f_lineno}")
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    with contextlib.suppress(KeyboardInterrupt):
        sys.settrace(trace)
        try:
            with folder.lock(NAME):
                pass
        finally:
            sys.settrace(before)
    return where[0] if where else None


@pytest.mark.parametrize("taken_before", [False, True])
def test_a_local_lock(tmp_path, taken_before):
    folder, step = Folder(tmp_path), 0
    with folder.lock(NAME) if taken_before else contextlib.nullcontext():
        notes = list(tmp_path.rglob("*.owner"))
        assert len(notes) == taken_before
        while where := interrupted_at(step := step + 1, folder):
            assert list(tmp_path.rglob("*.owner")) == notes, where
            with folder.lock(NAME) as taken:
                assert taken is not taken_before, where
    assert step > (5 if taken_before else 20)
    assert not stopping._temporary


@pytest.mark.parametrize("taken_before", [False, True])
def test_a_lease(taken_before):
    folder, step = Folder(f"memory://{uuid.uuid4().hex}"), 0
    with folder.lock(NAME) if taken_before else contextlib.nullcontext():
        leases_before = folder.names("cache/.locks")
        while where := interrupted_at(step := step + 1, folder):
            assert folder.names("cache/.locks") == leases_before, where
            assert not [name for name in folder.names("") if name.startswith(".lease-test")], where
    assert step > 20


LEAVES = """
import os, sys
from calbench.benchmark.core import stopping
from calbench.benchmark.store.folder import Folder

with Folder(sys.argv[1]).lock("cache/.locks/a"):
    if (child := os.fork()) == 0:
        stopping.clean_up()
        os._exit(0)
    os.waitpid(child, 0)
    assert os.path.exists(sys.argv[1] + "/cache/.locks/a.owner")
    from calbench.benchmark.cli.main import _leave
    _leave(2)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_note_goes_with_a_command_that_leaves_while_a_library_is_loaded(tmp_path):
    left = subprocess.run([sys.executable, "-c", LEAVES, tmp_path], capture_output=True, text=True)
    assert left.returncode == 128 + signal.SIGINT, left.stderr
    assert os.listdir(tmp_path / "cache" / ".locks") == ["a"]
