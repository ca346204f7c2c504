"""Downloads files of public datasets once, and checks them against their published checksums at every load.

Addresses, checksums and the transfer are torchvision's. Its dataset classes would unpickle CIFAR, load
MNIST's files unchecked, and name neither the damaged file nor the remedy; pooch knows one address per file and does not
lock a folder among processes.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from calbench.benchmark.core.errors import InputError
from calbench.datasets.io.archives import safe_extract


@dataclass(frozen=True)
class RemoteFile:
    """A file of the data folder.

    Attributes:
        path: where it lies, relative to the data folder.
        md5: its published checksum.
        urls: where it can be had; the first that answers is taken. Empty for files that come out of an archive.
    """

    path: str
    md5: str
    urls: tuple[str, ...] = ()


def has_checksum(path: Path, md5: str) -> bool:
    """Whether `path` is a file with this checksum."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5


def ensure_files(root: Path, dataset: str, files: Sequence[RemoteFile]) -> list[Path]:
    """Return the paths of `files` under `root`, fetching those that are missing or damaged.

    Raises:
        InputError: a file cannot be fetched; the message says where to put it by hand.
    """
    with locked(root, dataset):
        return [_ensure(root, dataset, file) for file in files]


def ensure_unpacked(root: Path, dataset: str, archive: RemoteFile, files: Sequence[RemoteFile]) -> list[Path]:
    """Return the paths of `files` under `root`, unpacking `archive` (fetched if need be) where one is missing.

    Raises:
        InputError: the archive cannot be fetched, or lacks some of the expected files.
    """
    paths = [root / file.path for file in files]

    def wrong() -> list[str]:
        return [f.path for f, path in zip(files, paths, strict=True) if not has_checksum(path, f.md5)]

    with locked(root, dataset):
        if wrong():
            safe_extract(_ensure(root, dataset, archive), root)
            if missing := wrong():
                raise InputError(f"{dataset}: {archive.path} was unpacked, and {missing[0]} is missing or damaged")
    return paths


def _ensure(root: Path, dataset: str, file: RemoteFile) -> Path:
    path = root / file.path
    if has_checksum(path, file.md5):
        return path
    damaged = path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    reasons = []
    try:
        for url in file.urls:
            reason = _download(url, partial, file.md5)
            if reason is None:
                os.replace(partial, path)
                return path
            reasons.append(reason)
    finally:
        partial.unlink(missing_ok=True)
    state = "is damaged (wrong checksum)" if damaged else "is not in the data folder"
    raise InputError(
        f"{dataset}: {file.path} {state} and cannot be fetched ({'; '.join(dict.fromkeys(reasons)) or 'no address'}). "
        f"Put the file there by hand (md5 {file.md5}"
        + (f", from {file.urls[0]}" if file.urls else "")
        + "); the data folder is --data-dir or CALBENCH_DATA"
    )


def _download(url: str, target: Path, md5: str) -> str | None:
    """Fetch `url` into `target`; the reason where that fails."""
    from torchvision.datasets.utils import download_url

    try:
        download_url(url, str(target.parent), target.name, md5)
    except (OSError, RuntimeError, ValueError) as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else url}"
    return None


@contextmanager
def locked(root: Path, dataset: str) -> Iterator[None]:
    """Hold the lock of a dataset's files, so that two processes do not fetch or unpack them at once.

    Raises:
        InputError: the data folder cannot be written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / f".{dataset}.lock")
        lock.acquire()
    except OSError as error:
        raise InputError(f"{dataset}: the data folder cannot be used: {error.strerror or error}") from error
    try:
        yield
    finally:
        lock.release()
