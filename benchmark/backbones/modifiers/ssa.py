"""Selective self-attention: queries and values are scaled by a temperature per token."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from calbench.benchmark.backbones.attention import attention_blocks
from calbench.benchmark.backbones.modifiers._base import Modifier, register
from calbench.benchmark.core.errors import InputError


@register("ssa", label="SSA", paper="zhang2024selective")
@dataclass
class SelectiveSelfAttention(Modifier):
    """q = e^b (1 + tanh(w_q . x)) W_q x and v = (1 + tanh(w_v . x)) W_v x for every token x of every block.

    Selective self-attention gives each query an inverse temperature, so that attention can be sharp for some tokens
    and even for others, and each value one, so that a token can be left out. w and b are 0 at the start, where the
    network is the plain one. In the paper the inverse temperature of a query also has a part that grows with its
    position, which counts the keys that the query sees; in a ViT every query sees the same keys, so here this part is
    the one scalar e^b of a layer. This form, shared by all heads, is this project's: the paper's released code has the
    positional part only.

    Args:
        query: scale the queries.
        value: scale the values.

    Zhang et al. 2024, Selective attention: enhancing transformer through principled context control, NeurIPS.
    """

    query: bool = True
    value: bool = True

    identity_at_start = True

    def __post_init__(self) -> None:
        """Check the options.

        Raises:
            InputError: neither queries nor values are scaled.
        """
        super().__post_init__()
        if not (self.query or self.value):
            raise InputError("ssa: set query or value, or both; without them nothing is modified")

    def apply(self, network: nn.Module) -> None:
        """Put a `SelectiveQKV` in the place of the qkv layer of every block."""
        for name, block in attention_blocks(network).items():
            if not isinstance(getattr(block, "q_norm", nn.Identity()), nn.Identity):
                raise InputError(f"ssa: {name} normalises its queries, which would undo their temperature")
            block.qkv = SelectiveQKV(block.qkv, self.query, self.value)


class SelectiveQKV(nn.Module):
    """A qkv layer whose queries and values are scaled by functions of their token.

    Args:
        linear: the layer, D to 3 D.
        query: scale the first third of its output.
        value: scale the last third.
    """

    def __init__(self, linear: nn.Linear, query: bool, value: bool) -> None:
        super().__init__()
        self.linear = linear
        weight = linear.weight
        self.query = nn.Parameter(weight.new_zeros(linear.in_features)) if query else None
        self.query_bias = nn.Parameter(weight.new_zeros(1)) if query else None
        self.value = nn.Parameter(weight.new_zeros(linear.in_features)) if value else None

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens (N, T, D) to queries, keys and values (N, T, 3 D)."""
        query, key, value = self.linear(tokens).chunk(3, dim=-1)
        if self.query is not None:
            query = query * (cast("Tensor", self.query_bias).exp() * (1 + (tokens @ self.query).tanh()))[..., None]
        if self.value is not None:
            value = value * (1 + (tokens @ self.value).tanh())[..., None]
        return torch.cat([query, key, value], dim=-1)
