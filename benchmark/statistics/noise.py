"""The noise floor: the expected ECE of a perfectly calibrated classifier on as many samples."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.metrics.parts import TopLabel
from calbench.benchmark.metrics.sample import Sample
from calbench.benchmark.metrics.simulation import simulated_ece
from calbench.benchmark.metrics.source import Source


@dataclass(frozen=True)
class NoiseFloor:
    """The distribution of the ECE under perfect calibration, per cent.

    Attributes:
        mean: its mean.
        q95: its 95th percentile: an ECE above it is not explained by noise.
    """

    mean: float
    q95: float


def noise_floor(
    *,
    logits: Any = None,
    probabilities: Any = None,
    confidences: Any = None,
    bins: int = DEFAULT_BINS,
    draws: int = 1000,
    seed: int = 0,
) -> NoiseFloor:
    """Simulate the ECE of a classifier whose labels are drawn from its own probabilities.

    Drawn from p, the label is the predicted class with probability conf = max p, so that only the confidences matter
    (consistency resampling, Bröcker and Smith 2007; Vaicenavicius 2019).

    Args:
        logits: (N, K), NumPy or torch.
        probabilities: (N, K), in place of logits.
        confidences: (N,) in 0..1, in place of both.
        bins: number of equal-width bins, as of `ece`.
        draws: number of simulated label sets.
        seed: of the draws.

    Raises:
        ValueError: bad input, or more or less than one of the first three.
    """
    if sum(given is not None for given in (logits, probabilities, confidences)) != 1:
        raise ValueError("noise floor: give one of logits, probabilities and confidences")
    if confidences is None:
        rows = len(logits if logits is not None else probabilities)
        source = Source(logits=logits, probabilities=probabilities, labels=np.zeros(rows, dtype=np.int64))
        confidences = Sample(source)[TopLabel()]["confidence"]
    values = simulated_ece(np.asarray(confidences), bins=bins, draws=draws, seed=seed)
    return NoiseFloor(float(values.mean()), float(np.quantile(values, 0.95)))
