"""Group calibration: temperatures of groups that are learned from the features."""

import math
import warnings
from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import one_hot

from calbench.methods.base import register
from calbench.methods.calibrators._top import keep_argmax
from calbench.methods.calibrators.features._base import FeatureCalibrator
from calbench.methods.solvers.few_parameters import minimise_rows
from calbench.methods.solvers.network_fit import seeded
from calbench.methods.solvers.newton import optimal_temperature
from calbench.methods.solvers.nll import BLOCK_ELEMENTS, split_rows
from calbench.methods.solvers.temperature_table import REACH, TemperatureTable


@register("group-calibration", label="GC+TS", paper="yang2023beyond")
@dataclass
class GroupCalibration(FeatureCalibrator):
    """1/U sum_u softmax(z / T_ug), g = argmax_g (W_u f)_g the group of the features f in partition u.

    Each of the U = ``partitions`` partitions has ``groups`` groups. They are found with soft groups: W_u and T_u
    minimise the NLL of sum_g softmax(W_u f)_g softmax(z / T_ug) plus ``decay`` times the mean of W_u^2, each
    partition from another random start (all in one run of L-BFGS). Then every sample belongs to its largest group, in
    each of which T is fitted again (``hard``; a group without samples keeps the single temperature), and the
    probabilities of the partitions are averaged. With ``hard=false`` groups stay soft. Features are divided by their
    root mean square; with ``offset`` they are centred too, and W_u f becomes W_u f + b_u. T starts at the optimal
    single temperature.

    Yang, Zhan and Gan 2023, arXiv 2306.04985 (20 partitions of 2 groups, decay 0.1), checked against the authors'
    code. It finds the groups on one split and fits their temperatures on another, by temperature scaling or another
    calibrator; here both are fitted on the calibration split. Its features are not scaled.
    """

    partitions: Annotated[int, Field(ge=1)] = 20
    groups: Annotated[int, Field(ge=1)] = 2
    decay: Annotated[float, Field(ge=0)] = 0.1
    steps: Annotated[int, Field(ge=1)] = 100
    hard: bool = True
    offset: bool = False
    seed: Annotated[int, Field(ge=0)] = 0

    keeps_accuracy = True
    tune_grid = (("decay", (0.01, 0.1, 1.0, 10.0)),)

    def fit(self, logits: Any, labels: Any, features: Any = None) -> Self:
        """Fit ``weight_`` (U, G, D, with an offset D + 1) and ``temperatures_`` (U, G) on features (N, D) too."""
        self.fit_unit(features)
        if not self.offset:
            self.center_ = torch.zeros_like(self.center_)
            self.unit_ = float(features.square().mean().sqrt().clamp_min(1e-12))
        inputs = self._inputs(features).double()
        base, width = optimal_temperature(logits, labels), inputs.shape[1]
        table = TemperatureTable(logits / base, labels)
        count, shape = self.partitions * self.groups, (self.partitions, self.groups, -1)

        def loss(point: Tensor, rows: slice) -> Tensor:
            scores = (inputs[rows] @ point[count:].view(count, width).T).unflatten(1, shape[:2])
            own = table.at(point[:count], rows).unflatten(1, shape[:2])
            return -(scores.log_softmax(dim=2) + own).logsumexp(dim=2).sum(dim=1)

        def penalty(point: Tensor) -> Tensor:
            weight = point[count:].view(shape)[..., : self.num_features_]
            return self.decay * weight.square().mean() * self.partitions

        with seeded(self.seed, logits.device):
            start = torch.rand(count * width) * 2 - 1
        start = torch.cat([torch.zeros(count), start / width**0.5])
        point = minimise_rows(loss, start, inputs, penalty=penalty, steps=self.steps)
        self.temperatures_ = (base * point[:count].clamp(-REACH, REACH).exp()).view(shape[:2]).to(logits.dtype)
        self.weight_ = point[count:].view(shape).to(logits.dtype)
        if self.hard:
            self.temperatures_ = self._refitted(logits, labels, inputs.to(logits.dtype), base)
        return self

    def _refitted(self, logits: Tensor, labels: Tensor, inputs: Tensor, base: float) -> Tensor:
        """The optimal temperature of every group of every partition (U, G)."""
        values = torch.full((self.partitions, self.groups), base, dtype=logits.dtype, device=logits.device)
        for u, weight in enumerate(self.weight_):
            group = (inputs @ weight.T).argmax(dim=1)
            for g in range(self.groups):
                rows = group == g
                if rows.any():
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")  # a group may be predicted without an error
                        values[u, g] = optimal_temperature(logits[rows], labels[rows])
        return values.clamp(base * math.exp(-REACH), base * math.exp(REACH))

    def transform(self, logits: Any, features: Any = None) -> Any:
        """Log-probabilities of the averaged mixtures (N, K), from the features (N, D) of the same samples."""
        inputs = self._inputs(features).to(logits.dtype)
        parts = split_rows(BLOCK_ELEMENTS // logits.shape[1], logits, inputs)
        return torch.cat([self._mix(block, read) for block, read in parts])

    def _inputs(self, features: Tensor) -> Tensor:
        """What the groups are found from: the features in their unit (N, D), and a one if there is an offset."""
        return torch.nn.functional.pad(self.in_unit(features), (0, int(self.offset)), value=1.0)

    def _mix(self, logits: Tensor, inputs: Tensor) -> Tensor:
        total = torch.zeros_like(logits)
        for weight, temperatures in zip(self.weight_.to(logits), self.temperatures_.to(logits), strict=True):
            scores = inputs @ weight.T
            shares = one_hot(scores.argmax(dim=1), self.groups).to(logits) if self.hard else scores.softmax(dim=1)
            for share, temperature in zip(shares.unbind(dim=1), temperatures, strict=True):
                total = total + share[:, None] * (logits / temperature).softmax(dim=1)
        floored = (total / len(self.weight_)).clamp_min(torch.finfo(logits.dtype).tiny)
        return keep_argmax(floored.log(), logits)
