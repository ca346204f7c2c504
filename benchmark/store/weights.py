"""Stores the weights of a cell next to its predictions, if the suite has ``keep: weights``."""

import hashlib

import safetensors.torch
from torch import Tensor

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.store.names import WEIGHTS, DamagedError
from calbench.benchmark.store.store import Store

WeightsByRule = dict[str, dict[str, Tensor]]
"""Checkpoint rule to the state of the network (parameters and buffers by name) that this rule evaluates."""

_AGAIN = "set `keep: weights` in the suite and train the cell again with `calbench run SUITE --cache refresh`"


class WeightsNotKeptError(InputError):
    """A cell whose weights are not in the store."""


def pack_weights(weights: WeightsByRule) -> bytes:
    """One safetensors file of all weights, named ``<rule>/<parameter>``."""
    return safetensors.torch.save(
        {
            f"{rule}/{name}": tensor.detach()
            .cpu()
            .contiguous()
            .clone()  # rules may share tensors; the format forbids it
            for rule, state in weights.items()
            for name, tensor in state.items()
        }
    )


def read_weights(store: Store, key: str, rule: str) -> dict[str, Tensor]:
    """The weights that a checkpoint rule of a finished cell evaluated.

    Raises:
        WeightsNotKeptError: they were not kept, or not for `rule`; the message says what to do.
        DamagedError: the file is truncated or altered.
    """
    record = store.manifest(key).get("weights")
    if record is None:
        raise WeightsNotKeptError(f"cell {key}: its weights were not kept; {_AGAIN}")
    try:
        data = store.read(key, WEIGHTS)
    except FileNotFoundError:
        raise WeightsNotKeptError(f"cell {key}: its file of weights was removed; {_AGAIN}") from None
    if hashlib.sha256(data).hexdigest() != record.get("sha256"):
        raise DamagedError(f"cell {key}: the weights are truncated or altered")
    start = f"{rule}/"
    weights = {n.removeprefix(start): t for n, t in safetensors.torch.load(data).items() if n.startswith(start)}
    if not weights:
        raise WeightsNotKeptError(f"cell {key}: no weights of the checkpoint rule {rule}; {_AGAIN}")
    return weights
