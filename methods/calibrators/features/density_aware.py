"""Density-aware calibration: a temperature that grows with the distance to known features."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from calbench.methods.base import register
from calbench.methods.calibrators.features._base import FeatureCalibrator
from calbench.methods.solvers.few_parameters import minimise_rows
from calbench.methods.solvers.neighbours import mean_distances, thinned
from calbench.methods.solvers.newton import optimal_temperature


@register("density-aware", label="DAC", paper="tomani2023beyond")
@dataclass
class DensityAware(FeatureCalibrator):
    """softmax(z / S(x)), S(x) = T0 (w1 s(x) + w0), w >= 0, s the mean distance to the nearest known features.

    Where features are far from all known ones the prediction becomes less confident, which is meant for shifted and
    out-of-distribution inputs. The paper measures the distance to the training features in every layer; predictions
    carry the pooled features of the calibration split, so s is the distance to the ``neighbours`` nearest of those (of
    10,000 of them at most), without the sample itself in the fit, divided by its mean over the calibration split. T0 is
    the optimal single temperature, from which the fit of w by the NLL starts.

    Tomani, Waseda, Shen and Cremers 2023, arXiv 2302.05118 (with one layer).

    Verified against the authors' code: the temperature w1 s + w0 with w1 >= 0, fitted by the NLL. The paper's full text
    was not read. The code divides features by their length, takes the squared distance to one neighbour (the 50th to
    200th in its settings), has no T0, and lets w0 be negative.
    """

    neighbours: Annotated[int, Field(ge=1)] = 10

    keeps_accuracy = True
    tune_grid = (("neighbours", (1, 10, 50, 100)),)

    def fit(self, logits: Any, labels: Any, features: Any = None) -> Self:
        """Fit ``slope_`` and ``offset_`` on logits (N, K), labels (N,) and pooled features (N, D)."""
        inputs, known = self.fit_unit(features), thinned(len(features))
        self.reference_ = inputs[known].clone()
        distances = mean_distances(inputs, self.reference_, self.neighbours, itself=known).double()
        self.mean_ = float(distances.mean().clamp_min(1e-12))
        self.scale_ = optimal_temperature(logits, labels)

        def loss(point: Tensor, rows: slice) -> Tensor:
            slope, offset = point.square()
            factors = (slope * distances[rows] / self.mean_ + offset).clamp_min(1e-3)
            scores = logits[rows] / (self.scale_ * factors)[:, None].to(logits.dtype)
            return functional.cross_entropy(scores, labels[rows], reduction="none")

        slope, offset = minimise_rows(loss, torch.tensor([0.1, 1.0]), logits).square()
        self.slope_, self.offset_ = float(slope), float(offset)
        return self

    def transform(self, logits: Any, features: Any = None) -> Any:
        """Logits over the temperature of each sample (N, K), from the features (N, D) of the same samples."""
        inputs = self.in_unit(features)
        distances = mean_distances(inputs, self.reference_.to(inputs), self.neighbours).double()
        factors = (self.slope_ * distances / self.mean_ + self.offset_).clamp_min(1e-3)
        return logits / (self.scale_ * factors)[:, None].to(logits.dtype)
