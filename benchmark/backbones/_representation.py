"""A timm model as a module that gives a `Representation`: logits, features and tokens of one forward pass."""

from typing import Any

import torch
from torch import Tensor, nn

from calbench.benchmark.core.errors import InputError
from calbench.methods import Representation


class TimmBackbone(nn.Module):
    """Wraps a timm model; its features are computed once, and pooled and classified from there.

    Args:
        model: a timm model with ``forward_features``, ``forward_head`` and ``get_classifier``.
        name: for messages.

    Raises:
        InputError: the model's logits are no function of its pooled features.
    """

    def __init__(self, model: Any, name: str) -> None:
        super().__init__()
        self.model = model
        classifier = model.get_classifier()
        self.distilled = isinstance(classifier, tuple)
        heads = classifier if self.distilled else (classifier,)
        if len(heads) > 2 or not all(isinstance(head, nn.Linear | nn.Conv2d) for head in heads):
            raise InputError(f"backbone {name}: its classifier is no linear layer over pooled features")
        self.prefix_tokens = getattr(model, "num_prefix_tokens", 0)
        self.has_cls_token = self.prefix_tokens > 0 and getattr(model, "cls_token", None) is not None
        norm = getattr(model, "fc_norm", None)
        # Models that pool before their final norm have it in fc_norm; the tokens are then normed here.
        self.token_norm = norm is not None and not isinstance(norm, nn.Identity)
        # Where the pooled features are the [CLS] token itself, one tensor stands for both: one gradient path less.
        self.features_are_cls = (
            self.has_cls_token
            and not self.distilled
            and getattr(model, "global_pool", "") == "token"
            and getattr(getattr(model, "head_drop", None), "p", 0.0) == 0.0
        )

    def no_weight_decay(self) -> set[str]:
        """Parameters that timm exempts from weight decay (position embeddings, tokens)."""
        listed = getattr(self.model, "no_weight_decay", set)()
        return {f"model.{name}" for name, _ in self.model.named_parameters() if name in listed}

    def forward(self, images: Tensor) -> Representation:
        """Run the model once over images (N, C, S, S)."""
        hidden = self.model.forward_features(images)
        features = self.model.forward_head(hidden, pre_logits=True)
        logits = self._distilled_logits(hidden) if self.distilled else self.model.get_classifier()(features)
        cls_token, patch_tokens = self._tokens(hidden)
        if self.features_are_cls:
            cls_token = features
        return Representation(logits.flatten(1), features.flatten(1), cls_token, patch_tokens)

    def _distilled_logits(self, hidden: Tensor) -> Tensor:
        """The mean of both heads, in training as in evaluation; see `DeiTMicro`."""
        head, head_dist = self.model.get_classifier()
        drop = self.model.head_drop
        return (head(drop(hidden[:, 0])) + head_dist(drop(hidden[:, 1]))) / 2

    def _tokens(self, hidden: Tensor) -> tuple[Tensor | None, Tensor | None]:
        if hidden.dim() == 4 and getattr(self.model, "output_fmt", "NCHW") == "NHWC":
            return None, hidden.flatten(1, 2)
        if hidden.dim() != 3:
            return None, None
        if self.token_norm:
            hidden = self.model.fc_norm(hidden)
        cls_token = hidden[:, 0] if self.has_cls_token else None
        return cls_token, hidden[:, self.prefix_tokens :]


def check_one_pass(backbone: TimmBackbone, name: str, channels: int, image_size: int) -> None:
    """Compare the logits of the wrapper with the model's own on one random image.

    Raises:
        InputError: they differ, so that `backbone` cannot be read in one pass as other models are.
    """
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, channels, image_size, image_size, generator=generator)
    training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            expected, given = backbone.model(image), backbone(image).logits
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        raise InputError(f"backbone {name} cannot take images of {image_size} pixels: {error}") from error
    finally:
        backbone.train(training)
    if not isinstance(expected, Tensor) or not torch.allclose(expected, given, rtol=1e-4, atol=1e-5):
        raise InputError(f"backbone {name}: its logits are no function of its pooled features, so it cannot be used")
