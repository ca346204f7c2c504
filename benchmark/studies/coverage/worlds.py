"""Simulated predictions whose true calibration is known."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import log_softmax, softmax

from calbench.benchmark.core.bins import DEFAULT_BINS, bin_of

CLASSES = 10
_POPULATION_BLOCK = 100_000

Generator = np.random.Generator


@dataclass(frozen=True)
class TemperedWorld:
    """Labels from softmax(z), with z normal; a model shows softmax(sharpness z).

    Attributes:
        scale: standard deviation of the logits z.
    """

    scale: float

    def draw(self, samples: int, generator: Generator) -> tuple[np.ndarray, np.ndarray]:
        """Logits z (N, K) and labels (N,)."""
        z = self.scale * generator.normal(size=(samples, CLASSES))
        return z, (z + generator.gumbel(size=z.shape)).argmax(axis=1)

    def show(self, sharpness: float) -> Callable[[np.ndarray], np.ndarray]:
        """The model that shows softmax(sharpness z): from z to its logits."""
        return lambda z: sharpness * z

    def flat(self, confidence: float) -> Callable[[np.ndarray], np.ndarray]:
        """The model that predicts the most probable class always with the same confidence."""
        gap = np.log(confidence) - np.log((1 - confidence) / (CLASSES - 1))
        return lambda z: gap * (z == z.max(axis=1, keepdims=True))

    def truth(self, model: Callable[[np.ndarray], np.ndarray], size: int, seed: int = 0) -> dict[str, float]:
        """The population values of the metrics of the study, from samples without label noise."""
        generator = np.random.default_rng(seed)
        totals, gaps, by_class = np.zeros(4), np.zeros(DEFAULT_BINS), np.zeros(CLASSES * DEFAULT_BINS)
        column = DEFAULT_BINS * np.arange(CLASSES)
        for _ in range(size // _POPULATION_BLOCK):
            z, _ = self.draw(_POPULATION_BLOCK, generator)
            posterior, logits = softmax(z, axis=1), model(z)
            shown = softmax(logits, axis=1)
            rows, predicted = np.arange(len(z)), logits.argmax(axis=1)
            hits, confidence = posterior[rows, predicted], shown[rows, predicted]
            gaps += np.bincount(bin_of(confidence, DEFAULT_BINS), hits - confidence, minlength=DEFAULT_BINS)
            cells = (bin_of(shown, DEFAULT_BINS) + column).ravel()
            by_class += np.bincount(cells, (posterior - shown).ravel(), minlength=len(by_class))
            brier = (shown**2).sum(axis=1) - 2 * (posterior * shown).sum(axis=1) + 1
            totals += [
                hits.sum(), -(posterior * log_softmax(logits, axis=1)).sum(), brier.sum(), (confidence - hits).sum()
            ]  # fmt: skip
        count = size // _POPULATION_BLOCK * _POPULATION_BLOCK
        accuracy, nll, brier, gap = totals / count
        ece, classwise = 100 * float(np.abs(gaps).sum()) / count, 100 * float(np.abs(by_class).sum()) / count / CLASSES
        return {
            "accuracy": 100 * accuracy,
            "nll": nll,
            "brier": brier,
            "signed-gap": 100 * gap,
            "ece": ece,
            "classwise-ece": classwise,
        }


@dataclass(frozen=True)
class NetworkWorld:
    """Networks over seeds: each sees x = signal e_y + noise, and shows softmax(sharpness signal x).

    With a sharpness of 1 this is the exact posterior of what the network sees, so that it is calibrated. The noise of
    two networks on the same sample has the correlation `shared`; signal and log sharpness vary over seeds.

    Attributes:
        signal: mean over seeds: it sets the accuracy.
        signal_spread: its standard deviation over seeds.
        sharpness: the median over seeds.
        sharpness_spread: standard deviation of its logarithm.
        shared: correlation of the noise of two networks.
    """

    signal: float
    signal_spread: float
    sharpness: float
    sharpness_spread: float
    shared: float = 0.7

    def draw(
        self, samples: int, networks: int, generator: Generator, spread: bool = True
    ) -> tuple[list[tuple[np.ndarray, float]], np.ndarray]:
        """Calibrated logits (N, K) and a sharpness for each network, and the labels (N,).

        Args:
            samples: N.
            networks: how many.
            generator: of everything.
            spread: whether networks differ in signal and sharpness; if not, their population metrics are equal.
        """
        labels = generator.integers(0, CLASSES, samples)
        common = generator.normal(size=(samples, CLASSES))
        models = []
        for _ in range(networks):
            signal = self.signal + spread * self.signal_spread * generator.normal()
            sharpness = self.sharpness * np.exp(spread * self.sharpness_spread * generator.normal())
            x = np.sqrt(self.shared) * common + np.sqrt(1 - self.shared) * generator.normal(size=common.shape)
            x[np.arange(samples), labels] += signal
            models.append((signal * x, float(sharpness)))
        return models, labels
