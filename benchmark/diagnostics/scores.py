"""Measures of attention scores: how even they are, and where the information of a token comes from."""

from collections.abc import Sequence

import torch
from torch import Tensor


def spikiness(scores: Tensor) -> Tensor:
    """|s|_1 / (L |s|_2^2) of every row s of L scores, mean over heads and queries.

    The share of keys that an even row of the same concentration would have: 1 for even attention, 1 / L for attention
    on one key, so small values are spiky. Zhang et al. 2024 (selective self-attention).

    Args:
        scores: attention after the softmax (N, heads, queries, keys).

    Returns:
        (N,).
    """
    rows = scores.double()
    ratio = rows.sum(-1) / (rows.shape[-1] * rows.square().sum(-1))
    return ratio.mean((1, 2)).float()


def rollout(blocks: Sequence[Tensor]) -> Tensor:
    """Attention rollout: the product over blocks of the mean over heads, half of it replaced by the identity.

    Args:
        blocks: scores of each block in order, (N, heads, T, T) with the same T.

    Returns:
        (N, T, T): how much of each output token comes from each input token; rows sum to 1.

    Abnar and Zuidema 2020, arXiv 2005.00928.
    """
    total = None
    for scores in blocks:
        mean = scores.double().mean(1)
        step = (mean + torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)) / 2
        total = step if total is None else step @ total
    if total is None:
        raise ValueError("rollout needs the scores of at least one block")
    return total.float()


def patch_attention(scores: Tensor, prefix_tokens: int, has_cls_token: bool) -> Tensor:
    """Attention of the output on each patch, as a distribution over patches.

    Args:
        scores: (N, heads, T, T) of a block, or (N, T, T) of a rollout.
        prefix_tokens: tokens before the patches.
        has_cls_token: whether the first token is the output; otherwise the mean over all patch tokens is taken.

    Returns:
        (N, patches); rows sum to 1.
    """
    mean = scores.mean(1) if scores.dim() == 4 else scores
    rows = mean[:, 0] if has_cls_token else mean[:, prefix_tokens:].mean(1)
    patches = rows[:, prefix_tokens:]
    return patches / patches.sum(-1, keepdim=True)
