"""Random streams of training: determined by seed and epoch, with states that can be saved within an epoch."""

import random
from typing import Any, cast

import numpy as np
import torch

from calbench.benchmark.core.seeds import seed_for


def seed_everything(seed: int, epoch: int, generator: torch.Generator) -> None:
    """Make every random state a function of seed and epoch: a resumed run goes on as if undisturbed."""
    generator.manual_seed(seed_for(seed, "batches", epoch))
    torch.manual_seed(seed_for(seed, "layers", epoch))
    random.seed(seed_for(seed, "python", epoch))
    np.random.seed(seed_for(seed, "numpy", epoch) % 2**32)  # noqa: NPY002 - plug-ins may use the global state


def random_states(generator: torch.Generator) -> dict[str, Any]:
    """The states of all random streams that training draws from, as plain data and tensors."""
    numbers = cast("tuple[Any, ...]", np.random.get_state())  # noqa: NPY002 - plug-ins may use the global state
    return {
        "generator": generator.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "python": random.getstate(),
        "numpy": [torch.from_numpy(numbers[1].astype(np.int64)), *numbers[2:]],
    }


def set_random_states(states: dict[str, Any], generator: torch.Generator) -> None:
    """Set the random streams to what `random_states` gave."""
    generator.set_state(states["generator"])
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    words, *rest = states["numpy"]
    np.random.set_state(("MT19937", words.numpy().astype(np.uint32), *rest))  # noqa: NPY002
