"""Variants that reproduce the tables of CalAttn (Liang 2026, arXiv 2508.08547), where its code is not the formula."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from typing_extensions import override

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.metrics.base import Metric, register
from calbench.benchmark.metrics.binned import Bins
from calbench.benchmark.metrics.parts import Part, Prediction, TopLabel
from calbench.benchmark.metrics.sample import View

_MAX_POINTS = 5000


@register("classwise-ece-calattn", label="Class-ECE (CalAttn)", paper="liang2026calattn")
@dataclass
class ClasswiseECECalAttn(Metric):
    """The mean over predicted classes of the top-label ECE of the samples predicted as that class. Per cent.

    It conditions on the prediction: every class weighs the same however few samples it has, so that the noise floor of
    a class with a handful of samples dominates. A perfectly calibrated 100-class model scores near 11 on it. Bins are
    the CalAttn code's, closed on the left: [a, b), the last one closed.
    """

    bins: Bins = DEFAULT_BINS
    sampling = "none"
    highest = 100.0

    @override
    def parts(self) -> Sequence[Part]:
        return [TopLabel(), Prediction()]

    @override
    def values(self, view: View) -> np.ndarray:
        sample, size = view.sample, view.sample.source.num_classes
        scaled = (sample.confidence * sample.confidence.dtype.type(self.bins)).astype(np.int64)
        cell = sample.prediction * self.bins + np.minimum(scaled, self.bins - 1)
        gaps = np.abs(view.segments(cell, size * self.bins, sample.residual)).reshape(-1, size, self.bins).sum(axis=2)
        counts = view.segments(sample.prediction, size)
        return 100 * (gaps / np.maximum(counts, 1)).sum(axis=1) / (counts > 0).sum(axis=1)


@register("smece-calattn", label="smECE (CalAttn)", paper="liang2026calattn")
@dataclass
class SmoothECECalAttn(Metric):
    """The mean |a(conf_i) - conf_i|, with a the kernel regression of correctness at a fixed bandwidth. Per cent.

    Gaussian kernel without reflection, over at most 5,000 samples taken at even steps, as in the CalAttn code; not the
    SmoothECE of Błasiok and Nakkiran, which `smece` is.
    """

    bandwidth: Annotated[float, Field(gt=0)] = 0.05
    resampled = False
    sampling = "none"
    highest = 100.0

    @override
    def values(self, view: View) -> np.ndarray:
        confidence, correct = view.sample.confidence.astype(np.float64), view.sample.correct
        if len(confidence) > _MAX_POINTS:
            taken = torch.linspace(0, len(confidence) - 1, _MAX_POINTS).long().numpy()
            confidence, correct = confidence[taken], correct[taken]
        errors = [self._errors(confidence, correct, rows) for rows in np.array_split(confidence, 10)]
        return np.array([100 * np.concatenate(errors).mean()])

    def _errors(self, confidence: np.ndarray, correct: np.ndarray, at: np.ndarray) -> np.ndarray:
        kernel = np.exp(-0.5 * ((at[:, None] - confidence) / self.bandwidth) ** 2)
        return np.abs(kernel @ correct / np.maximum(kernel.sum(axis=1), 1e-12) - at)
