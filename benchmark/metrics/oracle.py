"""Metrics against a known truth: the true class distribution, or the model's own probabilities taken as true."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.metrics.base import Metric, register
from calbench.benchmark.metrics.binned import Bins
from calbench.benchmark.metrics.parts import Part, TopLabel, Truth
from calbench.benchmark.metrics.sample import Sample, View
from calbench.benchmark.metrics.simulation import simulated_ece


@register("oracle-kl", label="KL to truth")
@dataclass
class OracleKL(Metric):
    """Mean KL divergence from the true class distribution to the predicted one, in nats."""

    unit = "nats"
    decimals = 4
    needs = frozenset({"posterior"})
    sampling = "mean"

    @override
    def parts(self) -> Sequence[Part]:
        return [Truth()]

    @override
    def scores(self, sample: Sample) -> np.ndarray:
        return sample.truth["divergence"]

    @override
    def values(self, view: View) -> np.ndarray:
        return view.mean(view.sample.truth["divergence"])


@register("oracle-ece", label="ECE to truth")
@dataclass
class OracleECE(Metric):
    """`ECE` with the true probability of the predicted class in place of correctness: no label noise. Per cent."""

    bins: Bins = DEFAULT_BINS
    needs = frozenset({"posterior"})

    @override
    def parts(self) -> Sequence[Part]:
        return [TopLabel(), Truth()]

    @override
    def values(self, view: View) -> np.ndarray:
        sample = view.sample
        sums = view.segments(sample.bin_of(self.bins), self.bins, sample.truth["accuracy"] - sample.confidence)
        return 100 * np.abs(sums).sum(axis=1) / len(view)


@register("noise-floor", label="Noise floor")
@dataclass
class NoiseFloor(Metric):
    """The mean ECE of a perfectly calibrated classifier with these confidences on as many samples. Per cent.

    Simulated with a fixed seed; see `calbench.benchmark.statistics.noise_floor`.
    """

    better = None
    bins: Bins = DEFAULT_BINS
    draws: int = 1000
    seed: int = 0
    resampled = False
    sampling = "none"
    no_interval = "it follows from the confidences, without any labels"

    @override
    def values(self, view: View) -> np.ndarray:
        return self._simulate(view).mean(keepdims=True)

    def _simulate(self, view: View) -> np.ndarray:
        return simulated_ece(view.sample.confidence, bins=self.bins, draws=self.draws, seed=self.seed)


@register("noise-floor-95", label="Noise floor 95 %")
@dataclass
class NoiseFloor95(NoiseFloor):
    """The 95th percentile of what `NoiseFloor` is the mean of: an ECE above it is not explained by noise."""

    @override
    def values(self, view: View) -> np.ndarray:
        return np.quantile(self._simulate(view), [0.95])
