"""Scores of many binnings of one class by an information criterion, from counts per bin, for netcal's ensembles.

netcal evaluates every binning at every sample, which is nearly all of its time. The log-likelihood of a binning follows
from the numbers of samples and hits in its bins.
"""

import numpy as np

LOWEST = -100.0
"""The logarithm of a probability of 0, as in torch's binary cross-entropy, which netcal takes."""


def log_likelihood(hits: np.ndarray, counts: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The log-likelihood in each bin, from its hits, its samples and the probability that it predicts, of one shape."""
    with np.errstate(divide="ignore"):
        of_hits, of_others = np.log(values), np.log1p(-values)
    return hits * np.maximum(of_hits, LOWEST) + (counts - hits) * np.maximum(of_others, LOWEST)


def relative_likelihoods(log_likelihoods: np.ndarray, degrees: np.ndarray, samples: int, score: str) -> np.ndarray:
    """exp(-d / 2) of each binning, with d its distance to the lowest score.

    Args:
        log_likelihoods: of the binnings (M,).
        degrees: their numbers of bins (M,).
        samples: N.
        score: ``aic``, 2 degrees - 2 log L, or ``bic``, log(N) degrees - 2 log L.
    """
    scores = degrees * (2.0 if score == "aic" else np.log(samples)) - 2 * log_likelihoods
    return np.exp((scores.min() - scores) / 2)
