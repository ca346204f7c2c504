"""Safe unpacking of untrusted archives: no path outside the target folder, no links, no devices.

`shutil.unpack_archive` filters tar archives only, allows links, and leaves half of an archive behind when it stops.
"""

import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from calbench.benchmark.core.errors import InputError

Member = tuple[str, IO[bytes]]


def safe_extract(archive: Path, folder: Path) -> None:
    """Unpack the regular files of a tar (of any compression) or zip archive into `folder`.

    The files are written to a temporary folder and moved into place when all are complete, so that a refused or damaged
    archive leaves nothing behind. Modes, owners and times of the archive are not kept.

    Raises:
        InputError: a member would land outside `folder`, is a link or a device, or the archive is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as made:
        scratch = Path(made)
        try:
            for name, source in _members(archive):
                target = scratch / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, "xb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
        except FileExistsError as error:
            raise InputError(f"archive {archive.name}: two members have one name") from error
        except InputError:
            raise
        except OSError as error:
            raise InputError(f"archive {archive.name} cannot be unpacked: {error.strerror or error}") from error
        except Exception as error:  # a damaged archive can fail anywhere in the readers and decompressors
            raise InputError(f"archive {archive.name} is damaged: {error}") from error
        for path in scratch.iterdir():
            _move(path, folder / path.name)


def _move(source: Path, target: Path) -> None:
    """Move a file or folder; folders that are there already are merged, files replaced."""
    if source.is_dir() and target.is_dir():
        for path in source.iterdir():
            _move(path, target / path.name)
    else:
        os.replace(source, target)


def _members(archive: Path) -> Iterator[Member]:
    """The regular files of an archive, each with its checked relative name."""
    if zipfile.is_zipfile(archive):
        yield from _zip_members(archive)
        return
    with tarfile.open(archive) as opened:
        for member in opened:
            if member.isdir():
                continue
            if not member.isfile():
                raise InputError(f"archive {archive.name}: member {member.name!r} is a link or no regular file")
            source = opened.extractfile(member)
            if source is not None:
                yield checked_name(archive, member.name), source


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir():
                continue
            if kind not in (0, stat.S_IFREG):
                raise InputError(f"archive {archive.name}: member {member.filename!r} is a link or no regular file")
            with opened.open(member) as source:
                yield checked_name(archive, member.filename), source


def checked_name(archive: Path, name: str) -> str:
    """Return `name` if it lies below the folder of unpacking on every system, else raise an `InputError`."""
    posix, windows = PurePosixPath(name), PureWindowsPath(name)
    escapes = posix.is_absolute() or windows.drive or windows.root or ".." in posix.parts or ".." in windows.parts
    if escapes or not posix.parts or "\0" in name:
        raise InputError(f"archive {archive.name}: member {name!r} would land outside the folder of unpacking")
    return str(posix)
