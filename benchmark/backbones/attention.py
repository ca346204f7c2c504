"""Access to the attention of timm's transformers: where it is, its temperature, and its scores."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from calbench.benchmark.core.errors import InputError

SeeScores = Callable[[str, Tensor], Tensor | None]
"""Gets the name of a block's attention and its scores (N, heads, queries, keys); may return other scores to use."""


def attention_blocks(network: nn.Module) -> dict[str, Any]:
    """The self-attention modules of `network` by name, in the order of the forward pass.

    These are timm's ``Attention`` (ViT, DeiT) and ``WindowAttention`` (Swin), and every module built like them: one
    linear layer ``qkv``, a fixed ``scale``, and a dropout of the scores.

    Raises:
        InputError: the network has none, as a CNN.
    """
    blocks = {name: module for name, module in network.named_modules() if _is_attention(module)}
    if not blocks:
        raise InputError("the network has no self-attention with one qkv layer and a fixed scale (a CNN has none)")
    return blocks


def _is_attention(module: nn.Module) -> bool:
    parts = (getattr(module, name, None) for name in ("qkv", "attn_drop"))
    return all(isinstance(part, nn.Module) for part in parts) and isinstance(getattr(module, "scale", None), float)


@contextlib.contextmanager
def query_temperature(network: nn.Module, temperature: float) -> Iterator[None]:
    """Within this context every block computes softmax(Q K^T / (T sqrt d)): its queries are divided by T.

    Dividing the queries leaves fused attention on. A relative-position bias (Swin) is added to the scores after the
    scaling, so it stays as it is. Where queries are normalised (qk-norm) they are divided after their norm. T = 1
    changes nothing at all.

    Args:
        network: with blocks that `attention_blocks` knows.
        temperature: T > 0; above 1 smooths attention, below 1 sharpens it.

    Raises:
        InputError: the network has no attention.
    """
    blocks = attention_blocks(network)
    handles = []
    try:
        if temperature != 1:
            for block in blocks.values():
                norm = getattr(block, "q_norm", None)
                normed = norm is not None and not isinstance(norm, nn.Identity)
                handles.append(
                    _divide_output(norm, temperature, 1) if normed else _divide_output(block.qkv, temperature, 3)
                )
        yield
    finally:
        for handle in handles:
            handle.remove()


def _divide_output(module: Any, temperature: float, parts: int) -> "contextlib.AbstractContextManager":
    """A hook that divides the first of `parts` equal parts of the output's last dimension."""

    def divide(_module: nn.Module, _inputs: tuple, output: Tensor) -> Tensor:
        width = output.shape[-1] // parts
        if output.requires_grad:
            output = output.clone()
        output[..., :width].div_(temperature)
        return output

    return module.register_forward_hook(divide)


@contextlib.contextmanager
def attention_scores(network: nn.Module, see: SeeScores) -> Iterator[None]:
    """Within this context `see` gets the attention scores of every block, and may replace them.

    The scores are those after the softmax, (N, heads, queries, keys); with shifted windows (Swin) the first dimension
    counts windows, image by image. Fused attention, which never has them in memory, is off meanwhile.

    Args:
        network: with blocks that `attention_blocks` knows.
        see: called once a block and forward pass.

    Raises:
        InputError: the network has no attention.
    """
    blocks = attention_blocks(network)
    fused = {name: getattr(block, "fused_attn", None) for name, block in blocks.items()}
    handles = []
    try:
        for name, block in blocks.items():
            if fused[name] is not None:
                block.fused_attn = False
            handles.append(block.attn_drop.register_forward_hook(_seen_by(see, name)))
        yield
    finally:
        for handle in handles:
            handle.remove()
        for name, block in blocks.items():
            if fused[name] is not None:
                block.fused_attn = fused[name]


def _seen_by(see: SeeScores, name: str) -> Callable[[nn.Module, tuple, Tensor], Tensor | None]:
    return lambda _module, _inputs, scores: see(name, scores)


def normalised_entropy(scores: Tensor) -> Tensor:
    """The entropy of attention over the logarithm of the number of keys, mean over heads and queries.

    Args:
        scores: attention after the softmax (N, heads, queries, keys); rows sum to 1.

    Returns:
        (N,), 1 for even attention and 0 for attention on one key.

    Example:
        >>> normalised_entropy(torch.full((1, 2, 4, 4), 0.25))
        tensor([1.])
    """
    entropy = torch.special.entr(scores.double()).sum(-1)
    return (entropy / math.log(scores.shape[-1])).mean((1, 2)).float()
