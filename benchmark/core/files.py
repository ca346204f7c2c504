"""Atomic writing of files: a file is either complete or does not exist."""

import contextlib
import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Mapping
from pathlib import Path

from calbench.benchmark.core.errors import InputError

AFFECTS_RESULTS = False
WRITING = ".writing-"
"""How the names of temporary files begin, until a rename makes them whole ones."""


def make_folder(folder: Path) -> None:
    """Make a folder to write to, before the work whose result it gets.

    Raises:
        InputError: it is a file, lies in one, or cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(f"{folder}: a file is in the way; give a folder to write to") from None
    except OSError as error:
        raise InputError(f"{folder}: this folder cannot be made ({error.strerror}); give another") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: no permission to write to this folder; give another")


def read_regular(path: Path) -> bytes:
    """The bytes of a regular file; a folder, pipe or device, which could be read without end, is refused at once.

    Raises:
        IsADirectoryError: it is no regular file.
        OSError: it cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise IsADirectoryError(errno.EISDIR, "not a regular file", str(path))
    with os.fdopen(handle, "rb") as file:
        return file.read()


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` through a temporary file in the same folder, flushed to disk and renamed into place."""
    write_together(path.parent, {path.name: data})


WINDOWS = os.name == "nt"
ATTEMPTS, PAUSE = 20, 0.05
"""How often, and after how many seconds, a file is renamed again that Windows refuses because a reader has it open."""


def _replace(temporary: str, target: Path) -> None:
    for attempt in range(ATTEMPTS):
        try:
            os.replace(temporary, target)
        except PermissionError:
            if not WINDOWS or attempt == ATTEMPTS - 1:
                raise
            time.sleep(PAUSE)
        else:
            return


def is_device(name: str) -> bool:
    """Whether Windows takes a file or folder of this name for a device, whatever its ending: CON, NUL, COM1 ...

    Example:
        >>> is_device("nul.csv"), is_device("console")
        (True, False)
    """
    return re.fullmatch(r"con|prn|aux|nul|(com|lpt)[0-9]", name.partition(".")[0].strip().casefold()) is not None


def _new_file(folder: Path) -> tuple[int, str]:
    """Open a new file of an unused name, with the mode that the umask gives any file (`tempfile` makes it 0600)."""
    path = os.path.join(folder, f"{WRITING}{secrets.token_hex(8)}")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666), path


def share_as_new(path: Path) -> None:
    """Give a file the mode that the umask gives any new file of its folder, where a library made it private.

    Raises:
        OSError: no file can be made there.
    """
    handle, sample = _new_file(path.parent)
    try:
        os.chmod(path, stat.S_IMODE(os.fstat(handle).st_mode))
    finally:
        os.close(handle)
        os.unlink(sample)


def write_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write several files of a folder: all are on the disk before the first takes its name, in the order given.

    A full disk leaves the old files; only a kill between two renames leaves old and new ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, str] = {}
    try:
        for name, data in files.items():
            handle, temporary = _new_file(folder)
            written[temporary] = name
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for temporary, name in list(written.items()):
            _replace(temporary, folder / name)
            del written[temporary]
    except BaseException:
        for temporary in written:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise
