"""Group calibration: temperatures of groups that are learned from the features."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import register
from calbench.methods.calibrators._features import FeatureCalibrator
from calbench.methods.calibrators._top import keep_argmax
from calbench.methods.solvers.few_parameters import minimise_rows
from calbench.methods.solvers.network_fit import seeded
from calbench.methods.solvers.newton import optimal_temperature
from calbench.methods.solvers.nll import BLOCK_ELEMENTS, split_rows
from calbench.methods.solvers.temperature_table import REACH, TemperatureTable


@register("group-calibration", label="GC+TS", paper="yang2023beyond")
@dataclass
class GroupCalibration(FeatureCalibrator):
    """1/U sum_u sum_g pi_ug(f) softmax(z / T_ug), pi_u = softmax(W_u f + b_u) groups of the features f.

    Each of the U = ``partitions`` partitions has ``groups`` groups; W_u and T_u minimise the NLL plus ``decay`` times
    the mean of W_u^2, each partition from another random start (all in one run of L-BFGS), and the probabilities of the
    partitions are averaged. Features are centred and scaled; T is in units of the optimal single temperature, from
    which it starts. The paper fits the temperatures again to hard groups afterwards; here, as in the released code,
    groups stay soft.

    Yang, Zhan and Gan 2023, arXiv 2306.04985 (20 partitions of 2 groups, decay 0.1).
    """

    partitions: Annotated[int, Field(ge=1)] = 20
    groups: Annotated[int, Field(ge=1)] = 2
    decay: Annotated[float, Field(ge=0)] = 0.1
    steps: Annotated[int, Field(ge=1)] = 100
    seed: Annotated[int, Field(ge=0)] = 0

    keeps_accuracy = True
    tune_grid = (("decay", (0.01, 0.1, 1.0, 10.0)),)

    def fit(self, logits: Any, labels: Any, features: Any = None) -> Self:
        """Fit ``weight_`` (U, G, D + 1) and ``temperatures_`` (U, G) on logits, labels (N,) and features (N, D)."""
        inputs = _with_one(self.fit_unit(features).double())
        base, width = optimal_temperature(logits, labels), inputs.shape[1]
        table = TemperatureTable(logits / base, labels)
        count, shape = self.partitions * self.groups, (self.partitions, self.groups, -1)

        def loss(point: Tensor, rows: slice) -> Tensor:
            scores = (inputs[rows] @ point[count:].view(count, width).T).unflatten(1, shape[:2])
            own = table.at(point[:count], rows).unflatten(1, shape[:2])
            return -(scores.log_softmax(dim=2) + own).logsumexp(dim=2).sum(dim=1)

        def penalty(point: Tensor) -> Tensor:
            return self.decay * point[count:].view(shape)[..., :-1].square().mean() * self.partitions

        with seeded(self.seed, logits.device):
            start = torch.rand(count * width) * 2 - 1
        start = torch.cat([torch.zeros(count), start / width**0.5])
        point = minimise_rows(loss, start, inputs, penalty=penalty, steps=self.steps)
        self.temperatures_ = (base * point[:count].clamp(-REACH, REACH).exp()).view(shape[:2]).to(logits.dtype)
        self.weight_ = point[count:].view(shape).to(logits.dtype)
        return self

    def transform(self, logits: Any, features: Any = None) -> Any:
        """Log-probabilities of the averaged mixtures (N, K), from the features (N, D) of the same samples."""
        inputs = _with_one(self.in_unit(features).to(logits.dtype))
        parts = split_rows(BLOCK_ELEMENTS // logits.shape[1], logits, inputs)
        return torch.cat([self._mix(block, read) for block, read in parts])

    def _mix(self, logits: Tensor, inputs: Tensor) -> Tensor:
        total = torch.zeros_like(logits)
        for weight, temperatures in zip(self.weight_.to(logits), self.temperatures_.to(logits), strict=True):
            shares = (inputs @ weight.T).softmax(dim=1)
            for share, temperature in zip(shares.unbind(dim=1), temperatures, strict=True):
                total = total + share[:, None] * (logits / temperature).softmax(dim=1)
        floored = (total / len(self.weight_)).clamp_min(torch.finfo(logits.dtype).tiny)
        return keep_argmax(floored.log(), logits)


def _with_one(features: Tensor) -> Tensor:
    return torch.nn.functional.pad(features, (0, 1), value=1.0)
