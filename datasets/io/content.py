"""Fingerprints of files by their content; a file is read again only when it has changed."""

import contextlib
import hashlib
import logging
import os
import sqlite3
import stat
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib

from calbench.benchmark.core.errors import InputError

AFFECTS_RESULTS = False
CACHE = "cache/content.sqlite"
"""Where the digests lie, relative to the data folder."""
LARGE = 1 << 30
"""Bytes from which on reading all files is announced."""
_FRESH_NS = 2_000_000_000
"""A file changed within this time before it was read is read again next time: clocks of file systems are coarse."""

State = tuple[int, int, int, int, int]


def digests(root: Path, paths: Sequence[Path]) -> list[bytes]:
    """The SHA-256 of each file, from the cache under `root` where the file is unchanged since it was read.

    A file counts as unchanged if device, inode, size and the times of its last change of content and of status are the
    same; the latter cannot be set back by programs. A cache that cannot be used costs time and nothing else.

    Raises:
        InputError: a file cannot be read, or is no regular file.
    """
    states = [file_state(path) for path in paths]
    with _cache(root) as cache:
        known = [_lookup(cache, state) for state in states]
        missing = [i for i, digest in enumerate(known) if digest is None]
        size = sum(states[i][2] for i in missing)
        if size > LARGE:
            message = "reading %d files (%.1f GB) for their fingerprint; unchanged files are not read again"
            logging.getLogger("calbench").warning(message, len(missing), size / 1e9)
        with ThreadPoolExecutor(min(8, 2 * joblib.cpu_count())) as pool:
            now = time.time_ns()
            for i, digest in zip(missing, pool.map(_read, [paths[i] for i in missing]), strict=True):
                known[i] = digest
                if max(states[i][3:]) < now - _FRESH_NS and file_state(paths[i]) == states[i]:
                    _store(cache, states[i], digest)
    return [digest for digest in known if digest is not None]


def digest_of(root: Path, names: Sequence[str], paths: Sequence[Path]) -> str:
    """A short hash of files by name and content, in this order.

    Raises:
        InputError: as for `digests`.
    """
    total = hashlib.sha256()
    for name, content in zip(names, digests(root, paths), strict=True):
        encoded = os.fsencode(name)
        total.update(len(encoded).to_bytes(8, "little") + encoded + content)
    return total.hexdigest()[:16]


def file_state(path: Path) -> State:
    """What changes with a file's content: device, inode, size, and the times of its last changes.

    Raises:
        InputError: it cannot be read, or is no regular file.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise InputError(f"file {path.parent.name}/{path.name}: {error.strerror}") from error
    if not stat.S_ISREG(found.st_mode):
        raise InputError(f"file {path.parent.name}/{path.name}: not a regular file")
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise InputError(f"file {path.parent.name}/{path.name}: {error.strerror}") from error


@contextlib.contextmanager
def _cache(root: Path) -> Iterator[sqlite3.Connection | None]:
    connection = None
    with contextlib.suppress(OSError, sqlite3.Error):
        path = root / CACHE
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = _opened(path)
    try:
        yield connection
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.commit()
    finally:
        if connection is not None:
            connection.close()


def _opened(path: Path) -> sqlite3.Connection:
    path.touch()  # SQLite makes files that only their owner can write, whatever the umask
    connection = sqlite3.connect(path, timeout=10)
    try:
        connection.execute("CREATE TABLE IF NOT EXISTS content (state TEXT PRIMARY KEY, sha256 BLOB)")
    except sqlite3.OperationalError:
        connection.close()
        raise
    except sqlite3.DatabaseError:  # damaged: recreate it
        connection.close()
        path.unlink(missing_ok=True)
        path.touch()
        connection = sqlite3.connect(path, timeout=10)
        connection.execute("CREATE TABLE IF NOT EXISTS content (state TEXT PRIMARY KEY, sha256 BLOB)")
    return connection


def _lookup(cache: sqlite3.Connection | None, state: State) -> bytes | None:
    if cache is None:
        return None
    try:
        row = cache.execute("SELECT sha256 FROM content WHERE state = ?", (repr(state),)).fetchone()
    except sqlite3.Error:
        return None
    return row[0] if row is not None and isinstance(row[0], bytes) and len(row[0]) == 32 else None


def _store(cache: sqlite3.Connection | None, state: State, digest: bytes) -> None:
    if cache is not None:
        with contextlib.suppress(sqlite3.Error):
            cache.execute("INSERT OR REPLACE INTO content VALUES (?, ?)", (repr(state), digest))
