"""Locks for object stores: a small object that only one process can create, and that expires unless it is renewed.

Amazon S3, Google Cloud Storage, Azure and fsspec's memory create an object only if it does not exist, in one step. No
clocks are compared: a lease has expired where its content stays the same for `LEASE_SECONDS` of the observer's clock.
Where two processes take over an expired lease in the same moment, a cell may be computed twice, with the same result.
"""

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

AFFECTS_RESULTS = False
LEASE_SECONDS = 60.0
"""How long a lease lasts that nobody renews; it is renewed four times as often."""
_LONG_DEAD_SECONDS = 86_400
"""A lease of yesterday has expired, whatever the difference between two clocks."""
_seen: dict[str, tuple[bytes, float]] = {}
"""The last content of a lease that another process has, and when this process saw it first."""
_support: dict[str, bool] = {}


def has_leases(fs: Any, folder: str) -> bool:
    """Whether the store refuses to create an object that exists; tried once per folder."""
    if folder not in _support:
        path = f"{folder}/.lease-test-{uuid.uuid4().hex}"
        try:
            try:
                _support[folder] = _create(fs, path, b"") and not _create(fs, path, b"")
            except Exception:  # older packages do not know the option, each with an error of its own
                _support[folder] = False
            finally:
                _try_to_remove(fs, path)
        finally:  # once more, as in `lease`
            _try_to_remove(fs, path)
    return _support[folder]


def _try_to_remove(fs: Any, path: str) -> None:
    with contextlib.suppress(Exception):
        fs.rm_file(path)


@contextlib.contextmanager
def lease(fs: Any, path: str) -> Iterator[bool]:
    """Take the lease at `path` if nobody has it, and renew it inside; yields whether it was taken."""
    token, ended = uuid.uuid4().hex, threading.Event()
    try:
        try:
            if not _take(fs, path, token):
                yield False
                return
            threading.Thread(target=_renew, args=(fs, path, token, ended), daemon=True).start()
            yield True
        finally:
            _give_back(fs, path, token, ended)
    finally:  # once more: an interrupt may have come before the first attempt did anything
        _give_back(fs, path, token, ended)


def _take(fs: Any, path: str, token: str) -> bool:
    """Create the lease, in the place of an expired one if there is one; returns whether this process has it now."""
    if _create(fs, path, _content(token)):
        return True
    if not _expired(fs, path):
        return False
    with contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)
    return _create(fs, path, _content(token))


def _give_back(fs: Any, path: str, token: str, ended: threading.Event) -> None:
    """End the renewal, and remove the lease if it is this process's; if the store fails now, the lease expires."""
    ended.set()
    with contextlib.suppress(Exception):  # the packages of object stores have errors that are not an OSError
        if json.loads(fs.cat_file(path))["token"] == token:
            fs.rm_file(path)


def holder(fs: Any, path: str) -> str:
    """Who has a lease, for people."""
    try:
        return str(json.loads(fs.cat_file(path))["who"])[:200]
    except Exception:  # as in `_give_back`: a message is no reason to fail
        return "another process"


def _create(fs: Any, path: str, data: bytes) -> bool:
    fs.makedirs(fs._parent(path), exist_ok=True)
    try:
        fs.pipe_file(path, data, mode="create")
    except FileExistsError:
        return False
    return True


def _content(token: str) -> bytes:
    who = f"process {os.getpid()} on {socket.gethostname()}"
    return json.dumps({"who": who, "token": token, "renewed": time.time()}).encode()


def _expired(fs: Any, path: str) -> bool:
    try:
        data = fs.cat_file(path)
    except FileNotFoundError:
        return True
    before, since = _seen.get(path, (None, 0.0))
    if data != before:
        _seen[path] = (data, time.monotonic())
        return _is_long_dead(data)
    return time.monotonic() - since > LEASE_SECONDS


def _is_long_dead(data: bytes) -> bool:
    try:
        return time.time() - float(json.loads(data)["renewed"]) > _LONG_DEAD_SECONDS
    except (ValueError, KeyError, TypeError):
        return False


def _renew(fs: Any, path: str, token: str, ended: threading.Event) -> None:
    while not ended.wait(LEASE_SECONDS / 4):
        with contextlib.suppress(Exception):  # a store that cannot be reached for a moment
            if json.loads(fs.cat_file(path))["token"] != token:
                return
            if not ended.is_set():
                fs.pipe_file(path, _content(token))
