"""A backbone and the head of a recipe as one module with a single forward pass."""

import torch
from torch import Tensor, nn

from calbench.benchmark.backbones import Backbone
from calbench.benchmark.config.entry import Recipe
from calbench.benchmark.core.seeds import seed_for
from calbench.datasets import Dataset
from calbench.methods import Outputs


class Classifier(nn.Module):
    """Images to `Outputs`: the backbone runs once, and the head reads what that one run gave."""

    def __init__(self, backbone: nn.Module, head: nn.Module | None) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, images: Tensor) -> Outputs:
        """Classify images (N, C, H, W)."""
        representation = self.backbone(images)
        logits, temperature = representation.logits, None
        if self.head is not None:
            logits, temperature = self.head(representation)
        return Outputs(logits, representation.logits, temperature, representation.features)

    def no_weight_decay(self) -> set[str]:
        """The backbone's parameters that timm exempts from weight decay, by their names here."""
        names = getattr(self.backbone, "no_weight_decay", set)
        return {f"backbone.{name}" for name in names()}

    def parameter_counts(self) -> dict[str, float]:
        """Number of parameters, and the share in per cent that the head adds to the backbone."""
        backbone = sum(p.numel() for p in self.backbone.parameters())
        head = sum(p.numel() for p in self.head.parameters()) if self.head is not None else 0
        return {"parameters": backbone + head, "extra_parameters_percent": 100 * head / backbone}


def build_classifier(dataset: Dataset, backbone: Backbone, recipe: Recipe, seed: int) -> Classifier:
    """Make the model of a cell. For one seed every recipe starts from the same backbone weights."""
    torch.manual_seed(seed_for(seed, "backbone"))
    net = backbone.build(dataset.num_classes, dataset.channels, dataset.image_size)
    head = None
    if recipe.head is not None:
        torch.manual_seed(seed_for(seed, "head"))
        head = recipe.head.build(backbone.info(dataset), dataset.num_classes)
    return Classifier(net, head)
