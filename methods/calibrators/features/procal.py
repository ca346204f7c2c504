"""Proximity-informed calibration by the ratio of densities."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import register
from calbench.methods.calibrators._top import log_confidences, with_confidence
from calbench.methods.calibrators.features._base import FeatureCalibrator
from calbench.methods.solvers.neighbours import mean_distances, thinned
from calbench.methods.solvers.nll import split_rows

BLOCK_ELEMENTS = 4_000_000
NARROWEST = 1e-3


@register("procal", label="ProCal", paper="xiong2023proximity")
@dataclass
class ProCal(FeatureCalibrator):
    """q' = n1 f1(q, D) / (n1 f1(q, D) + n0 f0(q, D)), f1 and f0 densities of correct and wrong predictions.

    q is the confidence, D = exp(-mean distance to the ``neighbours`` nearest features) the proximity: samples far from
    all others are over-confident at the same q. f1 and f0 are Gaussian kernel density estimates with the normal
    reference rule, 1.06 sigma n^(-1/6) in each of the two dimensions; n1 and n0 are the numbers of correct and wrong
    calibration samples. ``prior`` samples of an even density are added to each of the two. A group without samples has
    one in any case, so that a split without errors does not claim certainty. Features are divided by their length, as
    in the released code, and neighbours are taken from the calibration split (10,000 of it at most); the paper takes
    the training split. The other classes keep their proportions, and the prediction does not change.

    Xiong et al. 2023, arXiv 2306.04590 (density-ratio calibration, for continuous confidences), checked against the
    authors' code.
    """

    neighbours: Annotated[int, Field(ge=1)] = 10
    prior: Annotated[float, Field(ge=0)] = 0.0

    keeps_accuracy = True
    tune_grid = (("neighbours", (5, 10, 20, 50)),)

    def fit(self, logits: Any, labels: Any, features: Any = None) -> Self:
        """Fit ``right_`` (n1, 2) and ``wrong_`` (n0, 2), in units of their bandwidths, on the calibration split."""
        self.num_features_ = features.shape[1]
        inputs, known = _directions(features), thinned(len(features))
        self.reference_ = inputs[known].clone()
        proximity = (-mean_distances(inputs, self.reference_, self.neighbours, itself=known)).exp()
        pairs = torch.stack([log_confidences(logits)[:, 1].exp(), proximity.double()], dim=1)[known]
        hits = (logits.argmax(dim=1) == labels)[known]
        for name, group in (("right", pairs[hits]), ("wrong", pairs[~hits])):
            setattr(self, f"{name}_", group)
            setattr(self, f"{name}_width_", _bandwidth(group))
        return self

    def transform(self, logits: Any, features: Any = None) -> Any:
        """Log-probabilities with the calibrated confidence (N, K), from the features (N, D) of the same samples."""
        if features.shape[1] != self.num_features_:
            raise ValueError(f"features: expected {self.num_features_} columns, got {features.shape[1]}")
        inputs = _directions(features)
        proximity = (-mean_distances(inputs, self.reference_.to(inputs), self.neighbours)).exp()
        points = torch.stack([log_confidences(logits)[:, 1].exp(), proximity.double()], dim=1)
        right, wrong = (
            _log_mass(points, getattr(self, f"{n}_"), getattr(self, f"{n}_width_"), self.prior) for n in _NAMES
        )
        return with_confidence(logits, torch.sigmoid(right - wrong))


_NAMES = ("right", "wrong")


def _directions(features: Tensor) -> Tensor:
    return torch.nn.functional.normalize(features.float(), dim=1)


def _bandwidth(points: Tensor) -> Tensor:
    """The normal reference rule for each of two dimensions (2,)."""
    if len(points) < 2:
        return torch.full((2,), 0.1, dtype=torch.float64, device=points.device)
    return (1.06 * points.std(dim=0, correction=0) * len(points) ** (-1 / 6)).clamp_min(NARROWEST)


def _log_mass(points: Tensor, sample: Tensor, width: Tensor, prior: float) -> Tensor:
    """log(prior + n f) at points (N, 2), f the kernel density of a sample (n, 2), over the even one of the square."""
    sample, width = sample.to(points), width.to(points)
    constant = torch.log(2 * torch.pi * width.prod())
    even = torch.tensor(prior if len(sample) else max(prior, 1.0)).log().to(points)
    parts = []
    for (part,) in split_rows(BLOCK_ELEMENTS // max(1, len(sample)), points):
        exponents = -(((part[:, None] - sample[None]) / width) ** 2).sum(dim=2) / 2 - constant
        parts.append(torch.logaddexp(even, exponents.logsumexp(dim=1)))
    return torch.cat(parts)
