"""Reads NumPy's archives of arrays, within what a file of their size may take."""

import math
import zipfile
from collections.abc import Collection
from typing import IO, BinaryIO

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import check_zip


def read_npz(stream: BinaryIO, names: Collection[str]) -> dict[str, np.ndarray]:
    """The arrays of an .npz file that have one of `names`; others are not read, and no Python objects are.

    Raises:
        InputError: the file expands beyond what one of its size may (see `calbench.benchmark.core.limits`), or an
            array declares more bytes than its member has.
        ValueError, OSError, zipfile.BadZipFile: it is damaged.
    """
    check_zip(stream)
    arrays: dict[str, np.ndarray] = {}
    with zipfile.ZipFile(stream) as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name not in names or name in arrays:
                continue
            with archive.open(member) as part:
                needed = _declared_bytes(part)
                if needed > member.file_size:
                    raise InputError(f"damaged: {name} takes {needed:,} bytes, and has {member.file_size:,}")
            with archive.open(member) as part:
                arrays[name] = np.lib.format.read_array(part, allow_pickle=False)
    return arrays


def _declared_bytes(part: IO[bytes]) -> int:
    """How many bytes an array takes by its header."""
    version = np.lib.format.read_magic(part)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(part)
    return math.prod(shape) * dtype.itemsize
