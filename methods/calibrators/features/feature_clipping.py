"""Feature clipping: no pooled feature beyond a bound."""

import warnings
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.methods.base import register
from calbench.methods.calibrators.features._base import FeatureCalibrator
from calbench.methods.solvers.clipping import best_bound

GRID = 100
EXPLAINED = 0.99
"""The share of the variance of the logits that features explain where a linear classifier reads them."""


@register("feature-clipping", label="FC", paper="tao2025feature")
@dataclass
class FeatureClipping(FeatureCalibrator):
    """softmax(W min(max(f, -c), c) + b), f the pooled features, c > 0 with the lowest ``criterion``.

    W is the classifier of the network. Predictions do not carry it, so it is recovered from features and logits of the
    calibration split by least squares, exactly where N > D and a linear classifier reads the features; elsewhere (a
    head that changes logits, N < D) the fit warns. The calibrated logits are z + W (clip(f) - f), so that
    without clipping they are z whatever W is. c is one of 100 quantiles of max_d |f_d| over the samples, or infinite:
    for an underconfident model it does nothing. ``bins`` are those of the ECE. The accuracy can change. No default
    grid: c is chosen among 100, and another ``criterion`` is another method.

    Tao, Dong and Xu 2025, arXiv 2410.19796, checked against the authors' code. It tries c = 0, 0.01 ... 19.99 by the
    ECE, and its post-hoc class clips from above only: the same where features are not negative, as after a ReLU.
    """

    criterion: Literal["ece", "nll"] = "ece"
    bins: Annotated[int, Field(ge=1)] = DEFAULT_BINS

    def fit(self, logits: Any, labels: Any, features: Any = None) -> Self:
        """Fit ``weight_`` (K, D) and ``bound_`` on logits (N, K), labels (N,) and pooled features (N, D)."""
        self.num_features_ = features.shape[1]
        self.weight_, explained = _classifier(features.double(), logits.double())
        self.weight_ = self.weight_.to(logits.dtype)
        if explained < EXPLAINED:
            reason = "a linear map of the features explains"
            warnings.warn(f"feature-clipping: {reason} {explained:.0%} of the logits only", stacklevel=3)
        sizes = features.abs().amax(dim=1).double()
        grid = torch.quantile(sizes[:: max(1, len(sizes) // 100_000)], torch.linspace(0, 1, GRID).to(sizes))

        def clipped(bound: float) -> Tensor:
            return logits + self._change(features, bound).to(logits.dtype)

        self.bound_ = best_bound(clipped, logits, labels, grid.tolist(), self.criterion, self.bins)
        return self

    def transform(self, logits: Any, features: Any = None) -> Any:
        """The classifier's logits on clipped features (N, K), from the features (N, D) of the same samples."""
        if features.shape[1] != self.num_features_:
            raise ValueError(f"features: expected {self.num_features_} columns, got {features.shape[1]}")
        return logits + self._change(features, self.bound_).to(logits.dtype)

    def _change(self, features: Tensor, bound: float) -> Tensor:
        return (features.clamp(-bound, bound) - features) @ self.weight_.to(features).T


def _classifier(features: Tensor, logits: Tensor) -> tuple[Tensor, float]:
    """The weights (K, D) of the least-squares classifier, and the share of the variance that it explains."""
    centred, target = features - features.mean(dim=0), logits - logits.mean(dim=0)
    gram = centred.T @ centred
    gram.diagonal().add_(1e-10 * gram.diagonal().mean() + 1e-30)
    weight = torch.linalg.solve(gram, centred.T @ target).T
    left = (target - centred @ weight.T).square().sum()
    total = target.square().sum()
    return weight, float(1 - left / total) if total > 0 else 1.0
