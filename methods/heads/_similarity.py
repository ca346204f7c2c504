"""Shared code of abet and godin: logits from the similarity of features to class vectors, and a learned temperature."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from calbench.methods.base import HeadModule, Representation
from calbench.methods.heads._divide import divide_by, without_autocast
from calbench.methods.losses._functions import full_precision

Similarity = Literal["cosine", "euclidean", "inner"]


class SimilarityModule(HeadModule):
    """Logits h(f) / T(f), with h the similarity of the features f to a vector per class and T = sigmoid(BN(w . f + b)).

    The backbone's own classifier is not used.

    Args:
        num_features: width of the features, D.
        num_classes: K.
        similarity: ``cosine``, negative squared ``euclidean`` distance, or ``inner`` product with a bias.
        floor: what is added to the sigmoid.
    """

    def __init__(self, num_features: int, num_classes: int, similarity: Similarity, floor: float) -> None:
        super().__init__()
        self.similarity = _SIMILARITIES[similarity](num_features, num_classes)
        self.temperature = LearnedTemperature(num_features, floor)

    def forward(self, representation: Representation) -> tuple[Tensor, Tensor]:
        """Return h / T (N, K) and T (N,)."""
        features = representation.features
        with without_autocast(features.device.type):
            logits = self.similarity(full_precision(features))
        return divide_by(self.temperature, features, logits)


class LearnedTemperature(nn.Module):
    """sigmoid(BatchNorm(w . f + b)) + floor of features (N, D), as (N,)."""

    def __init__(self, num_features: int, floor: float) -> None:
        super().__init__()
        self.linear = nn.Linear(num_features, 1)
        self.norm = nn.BatchNorm1d(1)
        self.floor = floor

    def forward(self, features: Tensor) -> Tensor:
        """The temperature of each sample."""
        return torch.sigmoid(self.norm(self.linear(features))).squeeze(1) + self.floor


class _ClassVectors(nn.Module):
    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, num_features))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")


class _Cosine(_ClassVectors):
    def forward(self, features: Tensor) -> Tensor:
        return functional.normalize(features, dim=1) @ functional.normalize(self.weight, dim=1).T


class _Euclidean(_ClassVectors):
    def forward(self, features: Tensor) -> Tensor:
        return -torch.cdist(features, self.weight, compute_mode="donot_use_mm_for_euclid_dist").square()


class _Inner(_ClassVectors):
    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__(num_features, num_classes)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def forward(self, features: Tensor) -> Tensor:
        return features @ self.weight.T + self.bias


_SIMILARITIES: dict[Similarity, type[_ClassVectors]] = {"cosine": _Cosine, "euclidean": _Euclidean, "inner": _Inner}
