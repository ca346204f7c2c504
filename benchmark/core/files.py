"""Atomic writing of files: a file is either complete or does not exist."""

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

AFFECTS_RESULTS = False
WRITING = ".writing-"
"""How the names of temporary files begin, until a rename makes them whole ones."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path` through a temporary file in the same folder, flushed to disk and renamed into place."""
    write_together(path.parent, {path.name: data})


def write_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write several files of a folder: all are on the disk before the first takes its name, in the order given.

    A full disk leaves the old files; only a kill between two renames leaves old and new ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: dict[str, str] = {}
    try:
        for name, data in files.items():
            handle, temporary = tempfile.mkstemp(dir=folder, prefix=WRITING)
            written[temporary] = name
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
        for temporary, name in list(written.items()):
            os.replace(temporary, folder / name)
            del written[temporary]
    except BaseException:
        for temporary in written:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise
