"""What ``torch.save`` writes: tensors in tuples, lists and dicts, of any device."""

import io
import pickle
from typing import BinaryIO

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.contents import Contents
from calbench.benchmark.predictions.readers._format import Format
from calbench.benchmark.predictions.readers._nested import flatten

_ZIP = b"PK\x03\x04"
_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # the pickle of the number that older versions begin with


def _read(stream: BinaryIO) -> Contents:
    import torch

    data = stream.read()
    try:
        value = torch.load(io.BytesIO(data), weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        reason = str(error).partition("Unsupported global: GLOBAL ")[2].split(" ")[0]
        asks = f"it asks for {reason}, and only" if reason else "it is damaged, or not from torch.save; only"
        raise InputError(f"{asks} tensors, numbers and text in lists and dicts are read; save tensors") from None
    return Contents(flatten(value))


def _is_torch(head: bytes) -> bool:
    """Whether a zip archive starts with a folder's data.pkl, or a pickle with torch's number."""
    name = head[30 : 30 + int.from_bytes(head[26:28], "little")]
    return head.startswith(_LEGACY) or (head.startswith(_ZIP) and name.endswith((b"/data.pkl", b"/.format_version")))


FORMAT = Format("torch", (".pt", ".pth", ".bin", ".ckpt"), _read, _is_torch)
