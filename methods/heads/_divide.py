"""Shared code of the heads: a temperature computed in full precision, and logits divided by it."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from calbench.methods.losses._functions import full_precision


def divide_by(temperature: nn.Module, read: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, K) divided by the temperature (N,) that the module `temperature` gives for `read`, and both returned.

    Outside of autocast: a temperature in bfloat16 would have two to three digits.
    """
    with without_autocast(logits.device.type):
        scale = temperature(full_precision(read))
        return full_precision(logits) / scale[:, None], scale


def without_autocast(device: str) -> AbstractContextManager[object]:
    """A context without autocast; a plain one where autocast is off, since torch's costs as much as a small layer."""
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()
