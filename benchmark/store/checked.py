"""Files with a checksum: one line with the SHA-256 of the bytes and of the cell they belong to, then the bytes.

A file that is truncated, altered, or moved to another cell or under another name does not fit its checksum. This guards
against accidents and mix-ups, not against somebody who computes the checksum again: what is read is checked as well.
`torch.save` has no checksum of this kind, and the manifest is written once, before evaluations and states exist.
"""

import hashlib
import json
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

AFFECTS_RESULTS = False
_MARK = b"calbench sha256 "
_LENGTH = len(_MARK) + 64 + 1


def with_checksum(data: bytes, *context: str) -> bytes:
    """`data` behind a line with the checksum of `context` (what the data belong to) and `data`."""
    return _MARK + _checksum(data, context) + b"\n" + data


def without_checksum(data: bytes, *context: str) -> bytes:
    """What `with_checksum` was given with the same `context`.

    Raises:
        ValueError: the bytes are truncated, altered, or belong to something else.
    """
    head, content = data[:_LENGTH], data[_LENGTH:]
    if head != _MARK + _checksum(content, context) + b"\n":
        raise ValueError("truncated, altered, or of another cell")
    return content


def _checksum(data: bytes, context: tuple[str, ...]) -> bytes:
    total = hashlib.sha256(json.dumps(context).encode() + b"\n")
    total.update(data)
    return total.hexdigest().encode()


def pack(tensors: dict[str, Tensor], record: Any) -> bytes:
    """One safetensors file of `tensors` and of `record`, plain data of JSON."""
    return safetensors.torch.save(tensors, {"record": json.dumps(record)})


def unpack(data: bytes) -> tuple[dict[str, Tensor], Any]:
    """What `pack` was given.

    Raises:
        ValueError: the bytes are not such a file.
    """
    try:
        return safetensors.torch.load(data), json.loads(_metadata(data)["record"])
    except (safetensors.SafetensorError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"not a readable file: {error}") from error


def _metadata(data: bytes) -> Any:
    """The metadata of a safetensors file in memory: its header is JSON behind an eight-byte length."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        raise ValueError("safetensors header is longer than the file")
    header = json.loads(data[8 : 8 + length])
    return header.get("__metadata__") if isinstance(header, dict) else None
