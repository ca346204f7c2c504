"""Tensors and plain data in one safetensors file that carries its own hash: what is altered is known as damaged."""

import hashlib
import json
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

_BLANK = "0" * 64


def seal(tensors: dict[str, Tensor], record: Any) -> bytes:
    """One file of `tensors` and of `record`, which JSON can hold."""
    data = safetensors.torch.save(tensors, {"record": json.dumps(record), "sha256": _BLANK})
    place = _place(data, _BLANK)
    return b"".join((data[:place], hashlib.sha256(data).hexdigest().encode(), data[place + len(_BLANK) :]))


def unseal(data: bytes) -> tuple[dict[str, Tensor], Any]:
    """What `seal` was given.

    Raises:
        ValueError: the bytes are truncated, altered or no such file.
    """
    try:
        metadata = metadata_of(data)
        place = _place(data, metadata["sha256"])
        blank = hashlib.sha256(memoryview(data)[:place])
        blank.update(_BLANK.encode())
        blank.update(memoryview(data)[place + len(_BLANK) :])
        if blank.hexdigest() != metadata["sha256"]:
            raise ValueError("truncated or altered")
        return safetensors.torch.load(data), json.loads(metadata["record"])
    except (safetensors.SafetensorError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"truncated or altered: {error}") from error


def _place(data: bytes, digest: str) -> int:
    """Where the hash stands in the header; in the record a quotation mark has a backslash before it."""
    key = b'"sha256":"'
    return data.index(key + digest.encode()) + len(key)


def metadata_of(data: bytes) -> dict[str, str]:
    """The metadata of a safetensors file in memory (its header is JSON behind an eight-byte length).

    Raises:
        ValueError: the header is damaged.
    """
    length = int.from_bytes(data[:8], "little")
    if length > len(data) - 8:
        raise ValueError("safetensors header is longer than the file")
    try:
        header = json.loads(data[8 : 8 + length])
    except RecursionError:
        raise ValueError("safetensors header is nested too deeply") from None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict):
        raise ValueError("safetensors header holds no metadata")
    return metadata
