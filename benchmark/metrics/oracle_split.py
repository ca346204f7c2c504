"""The KL divergence from a known truth, split by the best temperature into refinement and calibration."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# Some functions of torch have no complete types.
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor
from typing_extensions import override

from calbench.benchmark.metrics.base import Metric, register
from calbench.benchmark.metrics.parts import Part, Truth
from calbench.benchmark.metrics.sample import Sample, View
from calbench.benchmark.metrics.source import Block

_FARTHEST = float(np.log(1e4))
"""The search covers temperatures from 1e-4 to 1e4."""


@dataclass(frozen=True)
class TemperedDivergence(Truth):
    """``divergence`` (N,): KL(q, softmax(inverse x z)) from the true class distribution q."""

    inverse: float

    @override
    def columns(self, block: Block) -> dict[str, Tensor]:
        logits = block.scores.double() if block.is_logits else block.probabilities.double().log()
        log_p = (logits * self.inverse).log_softmax(dim=1)
        q = cast("Tensor", block.posterior)
        return {"divergence": (torch.special.xlogy(q, q) - torch.where(q > 0, q * log_p, 0)).sum(dim=1)}

    @override
    def finish(self, columns: dict[str, Tensor], labels: Tensor) -> dict[str, Tensor]:
        return columns


class _Split(Metric):
    """A part of `oracle-kl`: the temperature is the best one of the evaluated samples."""

    @override
    def parts(self) -> Sequence[Part]:
        return [Truth()]

    @override
    def values(self, view: View) -> np.ndarray:
        # The mean divergence is flat at the best temperature, so that a resample's own differs by the order 1 / N only.
        return view.mean(self.scores(view.sample))

    @staticmethod
    def _refined(sample: Sample) -> np.ndarray:
        """The divergence of each sample (N,) at the temperature with the least mean."""

        def mean(log_inverse: float) -> float:
            return float(sample[TemperedDivergence(float(np.exp(log_inverse)))]["divergence"].mean())

        if not np.isfinite(mean(0.0)):  # a possible class has probability 0, at any temperature
            return sample.truth["divergence"]
        found = minimize_scalar(mean, bounds=(-_FARTHEST, _FARTHEST), method="bounded", options={"xatol": 1e-5})
        best = float(found.x) if found.fun < mean(0.0) else 0.0
        return sample[TemperedDivergence(float(np.exp(best)))]["divergence"]


@register("oracle-kl-refinement", label="KL to truth (refinement)", paper="berta2025rethinking")
@dataclass
class OracleKLRefinement(_Split):
    """`oracle-kl` that is left at the best temperature, in nats: what one temperature cannot improve.

    The split of Berta 2025 as in `nll-refinement`, without label noise.
    """

    unit = "nats"
    decimals = 4
    needs = frozenset({"posterior"})
    sampling = "mean"

    @override
    def scores(self, sample: Sample) -> np.ndarray:
        return self._refined(sample)


@register("oracle-kl-calibration", label="KL to truth (calibration)", paper="berta2025rethinking")
@dataclass
class OracleKLCalibration(_Split):
    """`oracle-kl` less `oracle-kl-refinement`: what the best temperature gains, in nats."""

    unit = "nats"
    decimals = 4
    needs = frozenset({"posterior"})
    sampling = "mean"

    @override
    def scores(self, sample: Sample) -> np.ndarray:
        with np.errstate(invalid="ignore"):  # infinity less infinity is not defined
            return sample.truth["divergence"] - self._refined(sample)
