"""Sigma-reparametrisation: linear layers whose spectral norm is one learned number."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from calbench.benchmark.backbones.attention import attention_blocks
from calbench.benchmark.backbones.modifiers._base import Modifier, register

START_STEPS = 100
"""Power iterations before training; each later training step does one more."""


@register("sigma-reparam", label="sigma-reparam", paper="zhai2023sigma")
@dataclass
class SigmaReparam(Modifier):
    """W^ = (gamma / sigma(W)) W for every linear layer but the classifier, with one learned gamma per layer.

    sigma(W) is the largest singular value, followed by one power iteration a training step; its gradient flows through
    W. The entropy of attention is bounded below by a function that falls with the spectral norm of the product of query
    and key weights, so bounding that norm keeps attention from collapsing onto single keys. gamma starts at sigma(W),
    where the network is the plain one (the paper starts at 1). The classifier stays plain: several initialisations
    start it at zero, which has no direction to scale.

    Args:
        keep_norms: keep the layer norms inside the blocks; the paper also trains without them. Without them the
            network is another one from the start.

    Zhai et al. 2023, Stabilizing transformer training by preventing attention entropy collapse, arXiv 2303.06296.
    """

    keep_norms: bool = True

    def apply(self, network: nn.Module) -> None:
        """Reparametrise the linear layers."""
        attention_blocks(network)
        if not self.keep_norms:
            _remove_block_norms(network)
        classifier = {id(module) for module in _classifiers(network)}
        layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
        for layer in layers:
            if id(layer) not in classifier:
                parametrize.register_parametrization(layer, "weight", SpectralScale(layer.weight))


def _classifiers(network: Any) -> tuple[nn.Module, ...]:
    classifier = network.model.get_classifier()
    return classifier if isinstance(classifier, tuple) else (classifier,)


class SpectralScale(nn.Module):
    """(gamma / sigma(W)) W, with sigma(W) = u^T W v by power iteration.

    Args:
        weight: W (out, in), for the start of u, v and gamma.
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        with torch.no_grad():
            right = torch.ones_like(weight[0])
            self.register_buffer("left", weight @ right)
            self.register_buffer("right", right)
            for _ in range(START_STEPS):
                self._iterate(weight)
            self.gamma = nn.Parameter(self._sigma(weight).clone())

    @torch.no_grad()
    def _iterate(self, weight: Tensor) -> None:
        left = nn.functional.normalize(weight @ self.right, dim=0)
        self.right = nn.functional.normalize(weight.T @ left, dim=0)
        self.left = left

    def _sigma(self, weight: Tensor) -> Tensor:
        return self.left @ (weight @ self.right)

    def forward(self, weight: Tensor) -> Tensor:
        """W (out, in) to W^; in training with one power iteration first."""
        if self.training:
            self._iterate(weight.detach())
        sigma = self._sigma(weight)
        return weight * (self.gamma / torch.where(sigma == 0, torch.ones_like(sigma), sigma))


def _remove_block_norms(network: nn.Module) -> None:
    for module in network.modules():
        for name in ("norm1", "norm2"):
            if isinstance(getattr(module, name, None), nn.LayerNorm):
                setattr(module, name, nn.Identity())
