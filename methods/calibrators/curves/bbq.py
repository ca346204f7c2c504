"""Bayesian binning into quantiles, one-vs-rest."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import numpy as np
from netcal.binning import BBQ as NetcalBBQ  # noqa: N811 (an acronym, not a constant)

from calbench.methods.base import register
from calbench.methods.calibrators._one_vs_rest import Curve, OneVsRest, step_curve
from calbench.methods.calibrators.curves._information import log_likelihood, relative_likelihoods

KEPT = 1e-3
"""netcal's threshold of the elbow: the drop of the score, in units of the scores' variance, that ends the choice."""


@register("bbq", label="BBQ", paper="naeini2015obtaining")
@dataclass
class BBQ(OneVsRest):
    """q_k = an average of histogram binnings of p_k with many numbers of bins, weighted by their ``score``.

    netcal's form: equal-width bins, N^(1/3) / 10 to 10 N^(1/3) of them, the binnings chosen by its elbow of the
    information criterion. One-vs-rest, renormalised. The counts of all binnings of a class are read from its sorted
    samples, and the scores from the counts, in float64; netcal takes every sample, in float32, and 40 times as long.
    No default grid: ``score`` has two values.

    Naeini, Cooper and Hauskrecht 2015.
    """

    score: Literal["bic", "aic"] = "bic"

    def fit_curve(self, probabilities: np.ndarray, hits: np.ndarray) -> Curve:
        """The steps of one class."""
        order = np.argsort(probabilities, kind="stable")
        binnings = _Binnings(probabilities[order], hits[order])
        likelihoods = relative_likelihoods(binnings.log_likelihoods, binnings.sizes, len(hits), self.score)
        weights, kept = _Elbow(likelihoods).choose()

        def value_at(points: np.ndarray) -> np.ndarray:
            return np.sum([w * binnings.at(points, m) for w, m in zip(weights, kept, strict=True)], axis=0)

        return step_curve(np.concatenate([binnings.edges_of(m) for m in kept]), value_at)


class _Elbow(NetcalBBQ):
    """netcal's choice among binnings whose relative likelihoods are known."""

    def __init__(self, likelihoods: np.ndarray) -> None:
        super().__init__()
        self.likelihoods = likelihoods

    def choose(self) -> tuple[np.ndarray, list[int]]:
        """The weights of the binnings that are kept, and their places."""
        nothing, places = np.empty(0), list(range(len(self.likelihoods)))
        weights, kept = cast("Any", self)._elbow(nothing, nothing, places, "bic", KEPT)
        return weights, kept

    def _calc_model_scores(self, *_: Any) -> np.ndarray:
        return self.likelihoods


class _Binnings:
    """Histogram binnings of sorted probabilities (N,) with hits (N,), and their log-likelihoods (M,).

    As in netcal, the predicted shares are those of the cells [a, b), and apply in (a, b]; an empty cell predicts its
    centre.
    """

    def __init__(self, probabilities: np.ndarray, hits: np.ndarray) -> None:
        self.sizes, self.edges, self.starts = _equal_widths(len(hits))
        total = np.append(0, np.cumsum(hits))
        counts, positives = self._counts(probabilities, total, "left")
        centres = (self.edges[:-1] + self.edges[1:]) / 2
        self.values = np.where(counts > 0, positives / np.maximum(counts, 1), centres)
        counts, positives = self._counts(probabilities, total, "right")
        terms = log_likelihood(positives, counts, self.values.clip(0, 1))
        self.log_likelihoods = np.add.reduceat(terms, self.starts)

    def _counts(self, probabilities: np.ndarray, total: np.ndarray, side: Literal["left", "right"]) -> Any:
        """Samples and hits in each cell; those between the last edge of a binning and the first of the next are 0."""
        places = np.searchsorted(probabilities, self.edges, side)
        places[self.starts] = 0
        places[np.append(self.starts[1:], len(places)) - 1] = len(probabilities)
        counts, positives = np.diff(places), np.diff(total[places])
        counts[self.starts[1:] - 1] = positives[self.starts[1:] - 1] = 0
        return counts, positives

    def edges_of(self, binning: int) -> np.ndarray:
        """The edges of one binning."""
        start = self.starts[binning]
        return self.edges[start : start + self.sizes[binning] + 1]

    def at(self, points: np.ndarray, binning: int) -> np.ndarray:
        """The prediction of one binning at points inside 0..1."""
        return self.values[self.starts[binning] + np.searchsorted(self.edges_of(binning), points) - 1]


@lru_cache(maxsize=2)
def _equal_widths(samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The numbers of bins that netcal tries (M,), the edges of all binnings one after the other, and the first ones."""
    root = samples ** (1 / 3)
    sizes = np.arange(max(1, int(root / 10)), min(-(-samples // 5), int(np.ceil(root * 10))) + 1)
    edges = np.concatenate([np.linspace(0, 1, size + 1) for size in sizes])
    return sizes, edges, np.append(0, np.cumsum(sizes + 1)[:-1])
