"""What the heads share: a temperature computed in full precision, and logits divided by it."""

import torch
from torch import Tensor, nn

from calbench.methods.losses._functions import full_precision


def divide_by(temperature: nn.Module, read: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (N, K) divided by the temperature (N,) that the module `temperature` gives for `read`, and both returned.

    Outside of autocast: a temperature in bfloat16 would have two to three digits.
    """
    device = logits.device.type
    if torch.is_autocast_enabled(device):  # only then: the context costs as much as a layer of the temperature itself
        with torch.autocast(device, enabled=False):
            return _divided(temperature, read, logits)
    return _divided(temperature, read, logits)


def _divided(temperature: nn.Module, read: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    scale = temperature(full_precision(read))
    return full_precision(logits) / scale[:, None], scale
