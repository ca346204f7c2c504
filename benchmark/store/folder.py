"""Atomic reads and writes of files in a local folder or at any fsspec address."""

import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
from filelock import FileLock, Timeout
from fsspec.implementations.local import LocalFileSystem

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.files import WRITING, read_regular, write_atomically
from calbench.benchmark.core.stopping import temporary
from calbench.benchmark.store import leases


class Folder:
    """A results folder: atomic writes, reads, listings, and locks that a dead process leaves open.

    Args:
        root: a local path or an fsspec address such as ``s3://bucket/results``.
        make: make the folder now; whoever only reads leaves nothing behind at a mistyped address.

    Raises:
        InputError: the folder cannot be made, or its protocol is unknown.
    """

    def __init__(self, root: str | Path, *, make: bool = True) -> None:
        try:
            self._fs, self.root = _file_system(str(root))
            self.is_local = isinstance(self._fs, LocalFileSystem)
            if make:
                self._fs.makedirs(self.root, exist_ok=True)
        except Exception as error:  # every kind of store has its own errors for an address that it cannot use
            raise InputError(f"results folder {root}: {_reason(error)}") from error

    def check_writable(self) -> None:
        """Raise an `InputError` where files cannot be written here: better now than after an hour of training."""
        try:
            self.write(f"{WRITING}check", b"")
            self.remove(f"{WRITING}check")
        except Exception as error:  # see above
            raise InputError(f"results folder {Path(self.root).name}: {_reason(error)}") from error

    def path(self, name: str) -> str:
        """The address of `name`, which must stay inside the folder."""
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
            raise InputError(f"name {name!r} would leave the results folder")
        return f"{self.root}/{name}"

    def local_path(self, name: str) -> Path:
        """`name` as a local path (local folders only)."""
        return Path(self.path(name))

    def exists(self, name: str) -> bool:
        """Whether a file or folder `name` is there."""
        return os.path.exists(self.path(name)) if self.is_local else self._fs.exists(self.path(name))

    def read(self, name: str) -> bytes:
        """The bytes of a file; `FileNotFoundError` if it does not exist, `IsADirectoryError` if it is no file."""
        if self.is_local:
            return read_regular(self.local_path(name))
        return self._fs.cat_file(self.path(name))

    def write(self, name: str, data: bytes) -> None:
        """Write a file whole: readers see the old content or the new one, at every moment and after every crash."""
        path = self.path(name)
        if not self.is_local:
            self._fs.makedirs(self._fs._parent(path), exist_ok=True)
            self._fs.pipe_file(path, data)
            return
        write_atomically(Path(path), data)

    @contextlib.contextmanager
    def publishing(self, name: str) -> Iterator[Path]:
        """A local folder for new files of `name`: the folder itself, or a temporary one that is then uploaded."""
        if self.is_local:
            yield self.local_path(name)
            return
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
            # The record with the checksums comes last: until then the old one shows that the others do not fit it.
            for path in sorted(Path(temporary).rglob("*"), key=lambda path: (path.name == "run.json", path)):
                if path.is_file():
                    self.write(f"{name}/{path.relative_to(temporary).as_posix()}", path.read_bytes())

    @contextlib.contextmanager
    def fetched(self, name: str) -> Iterator[Path]:
        """A local folder to read the files of `name` from: the folder itself, or a copy without its sub-folders.

        It need not exist where `name` does not; a copy has the name's last part, which messages show.
        """
        if self.is_local:
            yield self.local_path(name)
            return
        with tempfile.TemporaryDirectory() as temporary:
            with contextlib.suppress(FileNotFoundError):
                self._fs.get(self.path(name), f"{temporary}/", recursive=True, maxdepth=1)
            yield Path(temporary, PurePosixPath(name).name)

    def remove(self, name: str) -> None:
        """Remove a file or a folder with its content, if it exists; of a link the link alone."""
        with contextlib.suppress(FileNotFoundError):
            if self.is_local and os.path.islink(self.path(name)):
                os.unlink(self.path(name))
                return
            self._fs.rm(self.path(name), recursive=True)

    def names(self, folder: str) -> list[str]:
        """The names in a sub-folder (in the folder itself for ``""``), sorted; empty if it does not exist."""
        path = self.path(folder) if folder else self.root
        try:
            found = os.listdir(path) if self.is_local else [Path(p).name for p in self._fs.ls(path, detail=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found)

    def size(self, name: str) -> int:
        """Bytes of a file; of a link those of the link, and 0 where the file has gone meanwhile."""
        if not self.is_local:
            return self._fs.size(self.path(name))
        try:
            return os.lstat(self.path(name)).st_size
        except FileNotFoundError:
            return 0

    @property
    def has_locks(self) -> bool:
        """Whether two processes can share the folder: local, or at a store that creates an object only once."""
        return self.is_local or leases.has_leases(self._fs, self.root)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[bool]:
        """Take the lock `name` if it is free; yields whether it was taken.

        The operating system frees the lock of a process that dies; at a remote address a lease expires (see `leases`),
        or every process gets what it asks for (`has_locks`).
        """
        if not self.is_local:
            with leases.lease(self._fs, self.path(name)) if self.has_locks else contextlib.nullcontext(True) as taken:
                yield taken
            return
        path = self.local_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock, owner = FileLock(path), _owner(path)
        try:
            try:
                lock.acquire(timeout=0)
            except Timeout:
                yield False
                return
            with temporary(str(owner)):
                with contextlib.suppress(OSError):
                    owner.write_text(f"process {os.getpid()} on {socket.gethostname()}", "utf-8")
                yield True
        finally:
            lock.release()

    def holder(self, name: str) -> str:
        """Who has the lock `name` just now, for people."""
        if not self.is_local:
            return leases.holder(self._fs, self.path(name))
        try:
            return read_regular(_owner(self.local_path(name))).decode()[:200]
        except (OSError, UnicodeDecodeError):
            return "another process"


def _file_system(address: str) -> tuple[Any, str]:
    """The file system of an address and the folder in it; a path without ``://`` is local, whatever its characters.

    To fsspec ``a::b`` is a chain of file systems, of which it would use the folder ``a:``.
    """
    if "://" in address:
        return fsspec.core.url_to_fs(address)
    return LocalFileSystem(), LocalFileSystem._strip_protocol(address)


def _owner(lock: Path) -> Path:
    return lock.with_name(f"{lock.name}.owner")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
