"""Metrics of binned residuals, correctness minus confidence."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field
from typing_extensions import override

from calbench.benchmark.metrics.base import Metric, register
from calbench.benchmark.metrics.classwise import Classwise
from calbench.benchmark.metrics.parts import Part
from calbench.benchmark.metrics.sample import View

Bins = Annotated[int, Field(ge=1, le=100_000)]


@register("ece", label="ECE", paper="naeini2015obtaining")
@dataclass
class ECE(Metric):
    """Expected calibration error: sum_b |sum_{i in b} (c_i - conf_i)| / N over equal-width bins (a, b] of conf.

    Confidence 0 is in the first bin and confidence 1 in the last. Naeini 2015; Guo 2017, equation 3. Per cent.
    """

    bins: Bins = 15

    @override
    def values(self, view: View) -> np.ndarray:
        sums = view.segments(view.sample.bin_of(self.bins), self.bins, view.sample.residual)
        return 100 * np.abs(sums).sum(axis=1) / len(view)


@register("signed-gap", label="Conf. - acc.")
@dataclass
class SignedGap(Metric):
    """Mean confidence minus accuracy: over-confidence is positive. Per cent."""

    better = "zero"
    lowest = -100.0

    @override
    def values(self, view: View) -> np.ndarray:
        return -100 * view.mean(view.sample.residual)


@register("mce", label="MCE", paper="naeini2015obtaining")
@dataclass
class MCE(Metric):
    """Maximum calibration error: the largest |acc_b - conf_b| over the non-empty equal-width bins. Per cent."""

    bins: Bins = 15

    @override
    def values(self, view: View) -> np.ndarray:
        index = view.sample.bin_of(self.bins)
        sums = view.segments(index, self.bins, view.sample.residual)
        counts = view.segments(index, self.bins)
        return 100 * (np.abs(sums) / np.maximum(counts, 1)).max(axis=1)


@register("adaece", label="AdaECE", paper="nixon2019measuring")
@dataclass
class AdaECE(Metric):
    """Adaptive ECE: as `ECE` over equal-mass bins of the ranked confidences. Nguyen 2015, Nixon 2019. Per cent.

    Bin b holds the ranks floor(bN/M) to floor((b+1)N/M) - 1; equal confidences on both sides of an edge share their
    residual evenly, so that the order of the samples does not matter.
    """

    bins: Bins = 15

    @override
    def values(self, view: View) -> np.ndarray:
        sums, _ = view.equal_mass(self.bins)
        return 100 * np.abs(sums).sum(axis=1) / len(view)


@register("classwise-ece", label="CW-ECE", paper="kull2019beyond")
@dataclass
class ClasswiseECE(Metric):
    """Classwise ECE: the mean over all K classes of the ECE of p_k against [y = k]. Kull 2019, equation 2. Per cent."""

    bins: Bins = 15
    decimals = 3

    @override
    def parts(self) -> Sequence[Part]:
        return [Classwise(self.bins)]

    @override
    def values(self, view: View) -> np.ndarray:
        return 100 * np.abs(view.classwise(self.bins)).sum(axis=2).mean(axis=1) / len(view)
