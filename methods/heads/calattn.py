"""CalAttn: a temperature per sample from the representation, trained with the backbone."""

from dataclasses import dataclass
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import BackboneInfo, Head, HeadModule, Objective, Representation, register, registry, require
from calbench.methods.heads._divide import divide_by
from calbench.methods.solvers.temperature_mlp import TemperatureMLP

Tokens = Literal["cls", "patch-mean", "concat"]


@register("calattn", label="CalAttn", paper="liang2026calattn")
@dataclass
class CalAttn(Head):
    """logits / s with s = softplus(W2 GELU(W1 h + b1) + b2) + 1e-6, trained with the backbone.

    Liang et al. 2026, arXiv 2508.08547. h is the [CLS] token after the final norm, the mean of the patch tokens, or
    both concatenated; where a backbone has no [CLS] (Swin, CNN), ``cls`` reads the pooled feature. The default
    objective is cross-entropy-brier(weight=0.1). The scale is not identified between s and the classifier, so
    that s near 1 carries no information.

    ``stop_gradient`` detaches h, and nothing else: the loss still trains the MLP, and it still trains the backbone and
    the classifier through the logits in logits / s, but not through h in s(h). So the representation is not shaped by
    the temperature that is read from it.
    """

    hidden: Annotated[int, Field(ge=1)] = 128
    tokens: Tokens = "cls"
    stop_gradient: bool = False
    tune_grid = (("hidden", (32, 64, 128, 256)),)

    def check(self, backbone: BackboneInfo) -> None:
        """Raise an `InputError` where `backbone` lacks the tokens asked for."""
        asked = f"calattn with tokens={self.tokens} on {backbone.name}"
        if self.tokens == "concat":
            require(backbone.has_cls_token, f"{asked}: the backbone has no [CLS] token to concatenate")
        if self.tokens != "cls":
            require(backbone.has_patch_tokens, f"{asked}: the backbone gives no patch tokens")

    def default_objective(self) -> Objective:
        """The paper's loss."""
        return registry.create("cross-entropy-brier", weight=0.1)

    def note(self, backbone: BackboneInfo) -> str | None:
        """A remark where the pooled feature replaces the [CLS] token."""
        if self.tokens == "cls" and not backbone.has_cls_token:
            return f"calattn reads the pooled feature of {backbone.name}, which has no [CLS] token"
        return None

    def build(self, backbone: BackboneInfo, num_classes: int) -> HeadModule:
        """Make the module; `num_classes` does not matter to it."""
        width = backbone.num_features * (2 if self.tokens == "concat" else 1)
        return CalAttnModule(TemperatureMLP(width, self.hidden), self.tokens, self.stop_gradient)


class CalAttnModule(HeadModule):
    """The head that `CalAttn` describes."""

    def __init__(self, temperature: TemperatureMLP, tokens: Tokens, stop_gradient: bool) -> None:
        super().__init__()
        self.temperature = temperature
        self.read = _READERS[tokens]
        self.stop_gradient = stop_gradient

    def forward(self, representation: Representation) -> tuple[Tensor, Tensor]:
        """Return logits / s (N, K) and s (N,)."""
        read = self.read(representation)
        return divide_by(self.temperature, read.detach() if self.stop_gradient else read, representation.logits)


def _cls_or_pooled(representation: Representation) -> Tensor:
    return representation.features if representation.cls_token is None else representation.cls_token


def _patch_mean(representation: Representation) -> Tensor:
    return cast("Tensor", representation.patch_tokens).mean(dim=1)


def _both(representation: Representation) -> Tensor:
    return torch.cat([cast("Tensor", representation.cls_token), _patch_mean(representation)], dim=1)


_READERS = {"cls": _cls_or_pooled, "patch-mean": _patch_mean, "concat": _both}
