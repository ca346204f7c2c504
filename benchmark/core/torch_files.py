"""Reads files of ``torch.save`` without executing code and without `torch.load`.

`torch.load` is not safe with small hostile files, not even for tensors alone (``weights_only=True``): it unpacks
compressed storages, which torch never writes, so that 0.4 MB become 400, and its older versions believe the size that
a storage declares.
"""

import io
import zipfile
from typing import Any, BinaryIO

from calbench.benchmark.core._pickled_tensors import Storage, from_bytes
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.limits import check_zip
from calbench.benchmark.core.unpickle import unpickle, unpickle_legacy

_ZIP = b"PK\x03\x04"
LEGACY_HEAD = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickle of the number that files of versions before 1.6 begin with."""


def read_torch(stream: BinaryIO) -> Any:
    """The content of a file of ``torch.save``: tensors of any device as arrays, in tuples, lists and dicts.

    Numbers of bfloat16 become float32.

    Raises:
        InputError: it is damaged, asks for anything else, or expands beyond what a file of its size may.
    """
    if zipfile.is_zipfile(stream):
        check_zip(stream)
    stream.seek(0)
    data = stream.read()
    if data.startswith(_ZIP):
        return _of_archive(zipfile.ZipFile(io.BytesIO(data)), len(data))
    return unpickle_legacy(data)


def is_torch(head: bytes) -> bool:
    """Whether a zip archive starts with a folder's data.pkl, or a pickle with torch's number."""
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    modern = head.startswith(_ZIP) and name.endswith((b"/data.pkl", b"/.format_version"))
    return modern or head.startswith(LEGACY_HEAD)


def _of_archive(archive: zipfile.ZipFile, size: int) -> Any:
    """The content of a file of version 1.6 and later: a pickle, and a member for the numbers of each storage."""
    members = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
    if len(members) != 1:
        raise InputError("damaged, or not from torch.save: it has no data.pkl")
    if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
        raise InputError("damaged: it is compressed, which torch.save never does")
    folder = members[0].removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.namelist() and archive.read(order) != b"little":
        raise InputError("it was saved on a big-endian machine, which is not read")

    def storage(code: str, name: str) -> Storage:
        return Storage(lambda: from_bytes(code, archive.read(f"{folder}data/{name}")))

    return unpickle(archive.read(members[0]), storage, size)
