"""Saves and loads the state of a running cell: nested Python data with tensors, as safetensors.

`torch.save` would be shorter; its zip files of pickles can expand without bound when another's results folder is read.
"""

from typing import Any

import torch
from torch import Tensor

from calbench.benchmark.store import checked

AFFECTS_RESULTS = False

_TENSOR = "__tensor__"
_INT_KEYS = "__int_keys__"


def pack(value: Any) -> bytes:
    """Nested dicts, lists and tuples of tensors and plain values as one safetensors file (tuples become lists)."""
    tensors: dict[str, Tensor] = {}
    skeleton = _strip(value, tensors)
    # safetensors refuses tensors that share memory, and an empty file has no metadata: hence copies and a marker.
    tensors["marker"] = torch.zeros(1)
    return checked.pack(tensors, skeleton)


def unpack(data: bytes) -> Any:
    """What `pack` was given.

    Raises:
        ValueError: the bytes are no such file.
    """
    tensors, skeleton = checked.unpack(data)
    try:
        return _fill(skeleton, tensors)
    except (KeyError, RecursionError, TypeError) as error:
        raise ValueError(f"no saved state: {error}") from error


def _strip(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = f"t{len(tensors)}"
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {_TENSOR: name}
    if isinstance(value, dict):
        items = {str(key): _strip(item, tensors) for key, item in value.items()}
        return {_INT_KEYS: items} if value and all(isinstance(key, int) for key in value) else items
    if isinstance(value, list | tuple):
        return [_strip(item, tensors) for item in value]
    return value


def _fill(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        if _INT_KEYS in value:
            return {int(key): _fill(item, tensors) for key, item in value[_INT_KEYS].items()}
        return {key: _fill(item, tensors) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, tensors) for item in value]
    return value
