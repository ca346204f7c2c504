"""Metrics of binned residuals, correctness minus confidence."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import Field
from typing_extensions import override

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.metrics.base import Metric, register
from calbench.benchmark.metrics.classwise import Classwise, SignedResidual
from calbench.benchmark.metrics.gaps import Gaps, binned_gaps, pooled_shares
from calbench.benchmark.metrics.intervals import wilson_interval
from calbench.benchmark.metrics.parts import Part
from calbench.benchmark.metrics.sample import PointView, Sample, View

Bins = Annotated[int, Field(ge=1, le=100_000)]


@register("ece", label="ECE", paper="naeini2015obtaining")
@dataclass
class ECE(Metric):
    """Expected calibration error: sum_b |sum_{i in b} (c_i - conf_i)| / N over equal-width bins (a, b] of conf.

    Confidence 0 is in the first bin and confidence 1 in the last. Naeini 2015; Guo 2017, equation 3. Per cent.
    """

    bins: Bins = DEFAULT_BINS
    sampling = "gaps"
    highest = 100.0

    @override
    def values(self, view: View) -> np.ndarray:
        sums = view.segments(view.sample.bin_of(self.bins), self.bins, view.sample.residual)
        return 100 * np.abs(sums).sum(axis=1) / len(view)

    @override
    def gaps(self, sample: Sample) -> Gaps:
        return top_label_gaps(sample, self.bins)


def top_label_gaps(sample: Sample, bins: int) -> Gaps:
    """The gaps of `bins` equal-width bins of the confidence."""
    view, index = PointView(sample), sample.bin_of(bins)
    hits, confidences = view.segments(index, bins, sample.correct), view.segments(index, bins, sample.confidence)
    return binned_gaps(view.segments(index, bins)[0], hits[0], confidences[0], 1 / len(sample))


@register("signed-gap", label="Conf. - acc.")
@dataclass
class SignedGap(Metric):
    """Mean confidence minus accuracy: over-confidence is positive. Per cent."""

    better = "zero"
    lowest = -100.0
    highest = 100.0
    sampling = "mean"

    @override
    def scores(self, sample: Sample) -> np.ndarray:
        return -100 * sample.residual

    @override
    def values(self, view: View) -> np.ndarray:
        return -100 * view.mean(view.sample.residual)


@register("mce", label="MCE", paper="naeini2015obtaining")
@dataclass
class MCE(Metric):
    """Maximum calibration error: the largest |acc_b - conf_b| over the non-empty equal-width bins. Per cent."""

    bins: Bins = DEFAULT_BINS
    sampling = "bounds"
    highest = 100.0

    @override
    def values(self, view: View) -> np.ndarray:
        index = view.sample.bin_of(self.bins)
        sums = view.segments(index, self.bins, view.sample.residual)
        counts = view.segments(index, self.bins)
        return 100 * (np.abs(sums) / np.maximum(counts, 1)).max(axis=1)

    @override
    def bounds(self, sample: Sample, level: float) -> tuple[float, float]:
        """The largest ends of the bins' gaps, each from Wilson's interval at Bonferroni's level."""
        view, index = PointView(sample), sample.bin_of(self.bins)
        counts = view.segments(index, self.bins)[0]
        filled = counts > 0
        counts, hits, confidence = (
            values[filled]
            for values in (
                counts,
                view.segments(index, self.bins, sample.correct)[0],
                view.segments(index, self.bins, sample.confidence)[0],
            )
        )
        low, high = wilson_interval(hits, counts, 1 - (1 - level) / filled.sum())
        low, high = low - confidence / counts, high - confidence / counts
        return 100 * float(np.maximum(np.maximum(low, -high), 0).max()), 100 * float(np.maximum(-low, high).max())


@register("adaece", label="AdaECE", paper="nixon2019measuring")
@dataclass
class AdaECE(Metric):
    """Adaptive ECE: as `ECE` over equal-mass bins of the ranked confidences. Nguyen 2015, Nixon 2019. Per cent.

    Bin b holds the ranks floor(bN/M) to floor((b+1)N/M) - 1; equal confidences on both sides of an edge share their
    residual evenly, so that the order of the samples does not matter.
    """

    bins: Bins = DEFAULT_BINS
    sampling = "gaps"
    highest = 100.0

    @override
    def values(self, view: View) -> np.ndarray:
        sums, _ = view.equal_mass(self.bins)
        return 100 * np.abs(sums).sum(axis=1) / len(view)

    @override
    def gaps(self, sample: Sample) -> Gaps:
        view = PointView(sample)
        residuals, counts = view.equal_mass(self.bins)
        hits, _ = view.equal_mass(self.bins, sample.correct)
        return binned_gaps(counts, hits[0], hits[0] - residuals[0], 1 / len(sample))


@register("classwise-ece", label="CW-ECE", paper="kull2019beyond")
@dataclass
class ClasswiseECE(Metric):
    """Classwise ECE: the mean over all K classes of the ECE of p_k against [y = k]. Kull 2019, equation 2. Per cent."""

    bins: Bins = DEFAULT_BINS
    decimals = 3
    sampling = "gaps"
    highest = 100.0

    @override
    def parts(self) -> Sequence[Part]:
        return [Classwise(self.bins)]

    @override
    def values(self, view: View) -> np.ndarray:
        return 100 * np.abs(view.classwise(self.bins)).sum(axis=2).mean(axis=1) / len(view)

    @override
    def gaps(self, sample: Sample) -> Gaps:
        sums = sample[Classwise(self.bins)]
        weight = 1 / (len(sample) * len(sums.hits))
        expected = pooled_shares(sums.counts, sums.hits, sums.probabilities).ravel()
        gaps = binned_gaps(sums.counts.ravel(), sums.hits.ravel(), sums.probabilities.ravel(), weight, expected)
        # One sample is in a cell of every class, so that the cells are not independent.
        signed = sample[SignedResidual(self.bins, (sums.residuals > 0).tobytes())] / len(sums.hits)
        independent = float((gaps.spread**2).sum()) + gaps.between
        if len(sample) < 2:  # of one sample no variance is known
            return gaps
        estimate = float(signed.var()) / len(sample) / independent if independent else 1.0
        # Of few samples the estimate can be anything down to 0, which would leave an interval almost without width.
        return replace(gaps, inflation=max(estimate, 1.0))
