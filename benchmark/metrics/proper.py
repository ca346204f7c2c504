"""Accuracy and the proper scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from typing_extensions import override

from calbench.benchmark.metrics.base import Metric, register
from calbench.benchmark.metrics.parts import Part, ProperScores, TopK
from calbench.benchmark.metrics.sample import Sample, View


@register("accuracy", label="Accuracy")
@dataclass
class Accuracy(Metric):
    """Share of samples whose most probable class is the true one; of equal ones the first counts. Per cent."""

    better = "higher"
    highest = 100.0
    sampling = "share"

    @override
    def scores(self, sample: Sample) -> np.ndarray:
        return 100.0 * sample.correct

    @override
    def values(self, view: View) -> np.ndarray:
        return 100 * view.mean(view.sample.correct)


@register("top5-accuracy", label="Top-5 acc.")
@dataclass
class Top5Accuracy(Metric):
    """Share of samples whose true class is among the five most probable. Per cent."""

    better = "higher"
    highest = 100.0
    sampling = "share"

    @override
    def parts(self) -> Sequence[Part]:
        return [TopK(5)]

    @override
    def scores(self, sample: Sample) -> np.ndarray:
        return 100.0 * sample.top_k_hit(5)

    @override
    def values(self, view: View) -> np.ndarray:
        return 100 * view.mean(view.sample.top_k_hit(5))


@register("nll", label="NLL")
@dataclass
class NLL(Metric):
    """Negative log-likelihood: the mean of -log p_y, in nats; infinite where a true class has probability 0."""

    unit = "nats"
    decimals = 4
    sampling = "mean"

    @override
    def parts(self) -> Sequence[Part]:
        return [ProperScores()]

    @override
    def scores(self, sample: Sample) -> np.ndarray:
        return sample.nll

    @override
    def values(self, view: View) -> np.ndarray:
        return view.mean(view.sample.nll)


@register("brier", label="Brier", paper="brier1950verification")
@dataclass
class Brier(Metric):
    """Brier score: the mean of sum_k (p_k - [y = k])^2, in 0..2. Brier 1950."""

    unit = ""
    decimals = 4
    sampling = "mean"
    highest = 2.0

    @override
    def parts(self) -> Sequence[Part]:
        return [ProperScores()]

    @override
    def scores(self, sample: Sample) -> np.ndarray:
        return sample.brier

    @override
    def values(self, view: View) -> np.ndarray:
        return view.mean(view.sample.brier)
