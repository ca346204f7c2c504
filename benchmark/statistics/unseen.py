"""What a wrong prediction would add to a mean score where a sample has none: a rule of three for scores.

Of N right predictions the share of wrong ones may still be z^2 / (N + z^2) (Wilson 1927; 3.7 / N at 95 %), but the
scores of the sample do not show what a wrong prediction costs: an interval of their mean is far too short. The
predictions do: what each would score if its second class were the true one, and which of them are most in doubt.

In simulations with an accuracy of 99.6 % and N = 100, where two of three samples have no wrong prediction, 95 %
intervals of NLL, Brier score and confidence minus accuracy cover in 93 to 99.8 % (without this 35 to 92 %), at 99.8 %
in 93 % or more. The NLL of a model that is overconfident by a factor of 3 is covered in 88 to 92 % at an accuracy of
98 % and N = 100: there the few errors of a sample are not the worst ones of the population.
"""

# pyright: reportUnknownMemberType=false
# Some functions of torch have no complete types.
import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from typing_extensions import override

from calbench.benchmark.metrics.base import Metric
from calbench.benchmark.metrics.intervals import wilson_interval
from calbench.benchmark.metrics.parts import LogRest, Prediction
from calbench.benchmark.metrics.sample import Sample
from calbench.benchmark.metrics.source import Block


@dataclass(frozen=True)
class RunnerUp(Prediction):
    """``prediction`` (N,) int64: the most probable class after the predicted one."""

    @override
    def columns(self, block: Block) -> dict[str, Tensor]:
        rest = block.scores.scatter(1, block.prediction[:, None], -torch.inf)
        return {"prediction": rest.argmax(dim=1)}


class AllRight:
    """A sample without a wrong prediction.

    Args:
        sample: the predictions, all of them right.
    """

    def __init__(self, sample: Sample) -> None:
        self.sample = sample
        source = copy.copy(sample.source)
        source.labels = torch.as_tensor(sample[RunnerUp()]["prediction"]).to(source.labels.device)
        self.wrong = Sample(source)
        doubt = np.asarray(sample[LogRest()]["log_rest"])
        top = float(doubt.max())
        self.weights = np.exp(doubt - top) if np.isfinite(top) else np.ones(len(doubt))

    def further(self, metric: Metric, level: float) -> float:
        """How far the population value may be from the sample's because no prediction of the sample is wrong.

        Args:
            metric: a mean of scores.
            level: coverage of the interval.

        Returns:
            The upper end of the share of wrong predictions times what a wrong one adds to the score: the mean over the
            samples, weighted by their doubt 1 - confidence. 0 for a score that does not depend on the label, and where
            each wrong prediction would have an infinite score.
        """
        if metric.needs:  # scores against a known posterior: labels do not enter
            return 0.0
        with np.errstate(invalid="ignore"):
            added = metric.scores(self.wrong) - metric.scores(self.sample)
        possible = np.isfinite(added) & (self.weights > 0)
        if not possible.any():
            return 0.0
        _, share = wilson_interval(np.zeros(1), np.array([len(added)]), level)
        return float(share[0]) * float(np.average(added[possible], weights=self.weights[possible]))
