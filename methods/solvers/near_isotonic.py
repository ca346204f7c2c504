"""The path of near-isotonic regressions: from every label as it is to the isotonic regression."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

TIE = 1e-12
"""Relative to the penalty: groups that meet within it meet at the same penalty."""


class Groups(NamedTuple):
    """One near-isotonic regression of sorted samples: neighbours with one value are a group.

    Attributes:
        penalty: the weight of a violation.
        starts: the first sample of each group (G,).
        sizes: the samples of each group (G,).
        values: of the groups (G,).
    """

    penalty: float
    starts: np.ndarray
    sizes: np.ndarray
    values: np.ndarray


def near_isotonic_path(labels: np.ndarray) -> Iterator[Groups]:
    """The minimisers b of sum_i (y_i - b_i)^2 / 2 + lambda sum_i max(b_i - b_{i+1}, 0), as lambda grows from 0.

    b is linear in lambda between the penalties at which groups meet; the regressions at these penalties are given, the
    first with lambda 0. All groups that meet at one penalty are merged.

    Tibshirani, Hoefling and Tibshirani 2011, Technometrics 53, algorithm 1 (mPAVA).

    Args:
        labels: (N,) in the order of the scores.

    Example:
        >>> [groups.values.tolist() for groups in near_isotonic_path(np.array([1.0, 0.0, 1.0]))]
        [[1.0, 0.0, 1.0], [0.5, 1.0]]
    """
    changes = np.flatnonzero(np.diff(labels)) + 1
    starts = np.append(0, changes)
    sizes = np.diff(np.append(starts, len(labels))).astype(float)
    values, penalty = labels[starts].astype(float), 0.0
    while True:
        yield Groups(penalty, starts, sizes, values)
        falls = np.concatenate([[0.0], (np.diff(values) < 0).astype(float), [0.0]])
        slopes = (falls[:-1] - falls[1:]) / sizes
        closing = slopes[:-1] - slopes[1:]
        with np.errstate(divide="ignore", invalid="ignore"):
            meeting = np.where(closing * np.diff(values) > 0, np.diff(values) / closing, np.inf)
        if not len(meeting) or np.isinf(step := meeting.min()):
            return
        values, penalty = values + step * slopes, penalty + step
        kept = np.append(True, meeting > step + TIE * penalty)
        first = np.flatnonzero(kept)
        weights = sizes
        sizes = np.add.reduceat(weights, first)
        values, starts = np.add.reduceat(weights * values, first) / sizes, starts[first]
