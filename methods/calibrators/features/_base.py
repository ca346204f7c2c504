"""Shared code of the calibrators on pooled features: features are rescaled, and their number is checked."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from calbench.methods.base import Need
from calbench.methods.calibrators._base import Calibrator


@dataclass
class FeatureCalibrator(Calibrator):
    """The base of calibrators that read the pooled features, centred and divided by their root mean square."""

    needs: ClassVar[frozenset[Need]] = frozenset({"features"})

    def fit_unit(self, features: Tensor) -> Tensor:
        """Keep ``num_features_``, ``center_`` (D,) and ``unit_`` of features (N, D), and return them in that unit."""
        self.num_features_ = features.shape[1]
        self.center_ = features.mean(dim=0)
        self.unit_ = float((features - self.center_).square().mean().sqrt().clamp_min(1e-12))
        return self.in_unit(features)

    def in_unit(self, features: Tensor) -> Tensor:
        """Features (N, D), centred and scaled as in the fit.

        Raises:
            ValueError: another number of columns than in the fit.
        """
        if features.shape[1] != self.num_features_:
            raise ValueError(f"features: expected {self.num_features_} columns, got {features.shape[1]}")
        return (features - self.center_.to(features)).div(self.unit_).float()
