"""Reads files of ``torch.save``: tensors in tuples, lists and dicts, from any device."""

import io
import zipfile
from typing import Any, BinaryIO

from calbench.benchmark.core._pickled_tensors import Storage, from_bytes
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.unpickle import unpickle, unpickle_legacy
from calbench.benchmark.predictions.contents import Contents
from calbench.benchmark.predictions.readers._bounds import check_zip
from calbench.benchmark.predictions.readers._format import Format
from calbench.benchmark.predictions.readers._nested import flatten

_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the pickle of the number that older versions begin with


def _read(stream: BinaryIO) -> Contents:
    if zipfile.is_zipfile(stream):
        check_zip(stream)
    stream.seek(0)
    data = stream.read()
    if data.startswith(_ZIP):
        return Contents(flatten(_of_archive(zipfile.ZipFile(io.BytesIO(data)))))
    return Contents(flatten(unpickle_legacy(data)))


def _of_archive(archive: zipfile.ZipFile) -> Any:
    """The content of a file of version 1.6 and later: a pickle, and a member for the numbers of each storage."""
    [member] = [name for name in archive.namelist() if name.rpartition("/")[2] == "data.pkl"]
    folder = member.removesuffix("data.pkl")
    order = f"{folder}byteorder"
    if order in archive.namelist() and archive.read(order) != b"little":
        raise InputError("it was saved on a big-endian machine, which is not read")

    def storage(code: str, name: str) -> Storage:
        return Storage(lambda: from_bytes(code, archive.read(f"{folder}data/{name}")))

    members = [one for one in archive.infolist() if one.filename.startswith(f"{folder}data/")]
    if any(one.compress_type != zipfile.ZIP_STORED for one in members):
        raise InputError("damaged: its storages are compressed, which torch.save never does")
    if archive.getinfo(member).compress_type != zipfile.ZIP_STORED:
        raise InputError("damaged: its pickle is compressed, which torch.save never does")
    return unpickle(archive.read(member), storage, sum(one.file_size for one in members))


def _is_torch(head: bytes) -> bool:
    """Whether a zip archive starts with a folder's data.pkl, or a pickle with torch's number."""
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    return head.startswith(_LEGACY) or (head.startswith(_ZIP) and name.endswith((b"/data.pkl", b"/.format_version")))


FORMAT = Format("torch", (".pt", ".pth", ".bin", ".ckpt"), _read, _is_torch)
