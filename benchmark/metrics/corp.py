"""The CORP decomposition of top-label scores: miscalibration, discrimination and uncertainty.

The event is that the prediction is right, the forecast its confidence. Dimitriadis, Gneiting and Jordan 2021 (PNAS 118,
e2016191118) recalibrate the forecasts by isotonic regression on the evaluated samples themselves, which needs no bins,
and split the mean score S exactly into S = MCB - DSC + UNC: MCB is what recalibration gains, DSC what the recalibrated
forecasts gain over the constant accuracy, and UNC the score of that constant.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.special import entr
from typing_extensions import override

from calbench.benchmark.metrics.base import Metric, register
from calbench.benchmark.metrics.parts import LogRest, Part, TopLabel
from calbench.benchmark.metrics.sample import Sample, View

Score = Literal["brier", "nll"]
_NO_INTERVAL = "isotonic regression fits noise, which biases this part upwards; no interval is known to cover its value"


class _TopScore(Metric):
    """A score of the confidence as a forecast that the prediction is right."""

    score: ClassVar[Score]

    @override
    def parts(self) -> Sequence[Part]:
        return [TopLabel(), LogRest()]

    @override
    def scores(self, sample: Sample) -> np.ndarray:
        rest = sample[LogRest()]["log_rest"]
        if self.score == "nll":  # log(1 - confidence) is exact where the confidence itself rounds to 1
            return cast("np.ndarray", -np.where(sample.correct, np.log1p(-np.exp(rest)), rest))
        confidence = -np.expm1(rest)
        return (sample.correct - confidence) ** 2

    def _constant(self, share: np.ndarray) -> np.ndarray:
        """The mean score of forecasts that equal the share of events: (...,) of shares (...,)."""
        return share * (1 - share) if self.score == "brier" else entr(share) + entr(1 - share)

    def _uncertainty(self, view: View) -> np.ndarray:
        return self._constant(view.mean(view.sample.correct))

    def _recalibrated(self, view: View) -> np.ndarray:
        """The mean score after isotonic regression: (R,); samples of equal confidence have one forecast."""
        ranking = view.sample.by_certainty
        counts = np.diff(view.cumulative(None, ranking))
        hits = np.diff(view.cumulative(view.sample.correct, ranking))
        return np.array([self._fitted(*row) for row in zip(counts, hits, strict=True)]) / len(view)

    def _fitted(self, counts: np.ndarray, hits: np.ndarray) -> float:
        present = counts > 0
        counts, hits = counts[present], hits[present]
        fitted = np.clip(isotonic_regression(hits / counts, weights=counts).x, 0, 1)
        return float((counts * self._constant(fitted)).sum())


class _TopBrier(_TopScore):
    unit = ""
    decimals = 4
    score = "brier"


class _TopNLL(_TopScore):
    unit = "nats"
    decimals = 4
    score = "nll"


class _Whole(_TopScore):
    sampling = "mean"

    @override
    def values(self, view: View) -> np.ndarray:
        return view.mean(self.scores(view.sample))


class _Miscalibration(_TopScore):
    resampled = False
    sampling = "none"
    no_interval = _NO_INTERVAL

    @override
    def values(self, view: View) -> np.ndarray:
        return view.mean(self.scores(view.sample)) - self._recalibrated(view)


class _Discrimination(_TopScore):
    better = "higher"
    resampled = False
    sampling = "none"
    no_interval = _NO_INTERVAL

    @override
    def values(self, view: View) -> np.ndarray:
        return self._uncertainty(view) - self._recalibrated(view)


class _Uncertainty(_TopScore):
    better = None

    @override
    def values(self, view: View) -> np.ndarray:
        return self._uncertainty(view)


@register("top-brier", label="Brier (top label)", paper="dimitriadis2021stable")
@dataclass
class TopBrier(_TopBrier, _Whole):
    """Brier score of the confidence: the mean of (conf - [prediction is right])^2, in 0..1."""

    highest = 1.0


@register("top-brier-mcb", label="MCB (Brier)", paper="dimitriadis2021stable")
@dataclass
class TopBrierMiscalibration(_TopBrier, _Miscalibration):
    """Miscalibration part of `top-brier`: what isotonic regression of the confidence gains. Dimitriadis 2021."""


@register("top-brier-dsc", label="DSC (Brier)", paper="dimitriadis2021stable")
@dataclass
class TopBrierDiscrimination(_TopBrier, _Discrimination):
    """Discrimination part of `top-brier`: what recalibrated confidences gain over the constant accuracy."""


@register("top-brier-unc", label="UNC (Brier)", paper="dimitriadis2021stable")
@dataclass
class TopBrierUncertainty(_TopBrier, _Uncertainty):
    """Uncertainty part of `top-brier`: accuracy (1 - accuracy), the score of a constant forecast; 1/4 at most."""


@register("top-nll", label="Log score (top label)", paper="dimitriadis2021stable")
@dataclass
class TopNLL(_TopNLL, _Whole):
    """Log score of the confidence: the mean of -log conf where the prediction is right and of -log(1 - conf) else.

    In nats.
    """


@register("top-nll-mcb", label="MCB (log score)", paper="dimitriadis2021stable")
@dataclass
class TopNLLMiscalibration(_TopNLL, _Miscalibration):
    """Miscalibration part of `top-nll`, in nats: what isotonic regression of the confidence gains."""


@register("top-nll-dsc", label="DSC (log score)", paper="dimitriadis2021stable")
@dataclass
class TopNLLDiscrimination(_TopNLL, _Discrimination):
    """Discrimination part of `top-nll`, in nats: what recalibrated confidences gain over the constant accuracy."""


@register("top-nll-unc", label="UNC (log score)", paper="dimitriadis2021stable")
@dataclass
class TopNLLUncertainty(_TopNLL, _Uncertainty):
    """Uncertainty part of `top-nll`, in nats: the entropy of right and wrong, the score of a constant forecast."""
