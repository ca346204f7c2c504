"""Device and precision of a run, through accelerate."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, cast

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object
from torch import Tensor, nn

from calbench.benchmark.core.errors import InputError


@dataclass
class Devices:
    """What training needs of the machine."""

    accelerator: Accelerator

    @property
    def device(self) -> torch.device:
        """Where the tensors are."""
        return self.accelerator.device

    @property
    def rank(self) -> int:
        """The number of this process among those that train one model together."""
        return self.accelerator.process_index

    @property
    def world(self) -> int:
        """How many processes train one model together."""
        return self.accelerator.num_processes

    def gather(self, value: Any) -> list[Any]:
        """The values of all processes, in the order of their ranks."""
        return gather_object([value]) if self.world > 1 else [value]

    def prepare(self, model: Callable[..., Any], optimizer: torch.optim.Optimizer) -> tuple[Any, Any]:
        """The model with mixed precision, and the optimiser with gradient scaling where that needs it."""
        return cast("tuple[Any, Any]", self.accelerator.prepare(model, optimizer))

    def backward(self, loss: Tensor) -> None:
        """Backward pass, scaled where the precision needs it."""
        self.accelerator.backward(loss)

    def clear_gradients(self, optimizer: Any) -> None:
        """Forget the gradients of a prepared optimiser, directly: accelerate's own call inspects a signature first."""
        optimizer.optimizer.zero_grad(set_to_none=True)

    def release(self) -> None:
        """Let go of every model and optimiser that was prepared: accelerate keeps them as long as the process lives."""
        if self.device.type == "cuda":
            self.accelerator.free_memory()
            return
        # The same without its search for cycles, which takes longer than a small cell does.
        self.accelerator._models.clear()
        self.accelerator._optimizers.clear()

    def clip(self, model: nn.Module, norm: float) -> None:
        """Bound the norm of the gradient."""
        self.accelerator.clip_grad_norm_(model.parameters(), norm)

    def autocast(self) -> AbstractContextManager:
        """Mixed precision for a forward pass outside `prepare`."""
        return self.accelerator.autocast()


_made: dict[tuple[str, str], Devices] = {}


def make_devices(device: str, precision: str) -> Devices:
    """Choose device and precision.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``auto`` (bfloat16 on GPUs that have it, else float32), ``float32``, ``bf16`` or ``fp16``.

    Raises:
        InputError: the device is not there.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise InputError("device cuda: torch finds no CUDA device on this machine")
    on_gpu = has_gpu and device != "cpu"
    if precision == "auto":
        precision = "bf16" if on_gpu and torch.cuda.is_bf16_supported() else "float32"
    key = ("cuda" if on_gpu else "cpu", precision)
    if key not in _made:
        # accelerate keeps one state per process and refuses another precision until it is reset.
        AcceleratorState._reset_state(True)
        _made.clear()
        mixed = "no" if precision == "float32" else precision
        _made[key] = Devices(Accelerator(mixed_precision=mixed, cpu=not on_gpu))
    return _made[key]
