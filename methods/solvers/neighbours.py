"""Distances to the nearest of a set of reference points, in blocks."""

import torch
from torch import Tensor

from calbench.methods.solvers.nll import split_rows, tracing

MOST_POINTS = 10_000
"""Reference points kept at most: every n-th row of a larger calibration split."""

BLOCK_ELEMENTS = 4_000_000


def thinned(count: int) -> slice:
    """The rows of `count` that serve as reference: all, or evenly spaced ones."""
    return slice(None, None, max(1, -(-count // MOST_POINTS)))


def mean_distances(points: Tensor, reference: Tensor, neighbours: int, *, itself: slice | None = None) -> Tensor:
    """The mean Euclidean distance of every point to its nearest reference points.

    Args:
        points: (N, D).
        reference: (M, D).
        neighbours: how many of the nearest count; fewer where M is smaller.
        itself: the rows of `points` that are the reference, whose distance to themselves does not count.

    Returns:
        Distances (N,); zeros where no reference point is left.
    """
    count = min(neighbours + (itself is not None), len(reference))
    if count == 0 or (itself is not None and len(reference) == 1):
        return points.new_zeros(len(points))
    parts = split_rows(BLOCK_ELEMENTS // len(reference), points)
    # By a matrix product where there are many rows, which is fast and rounds more; an export works for any number.
    mode = "donot_use_mm_for_euclid_dist" if tracing() else "use_mm_for_euclid_dist_if_necessary"
    distances = (torch.cdist(part, reference, compute_mode=mode) for (part,) in parts)
    nearest = torch.cat([part.topk(count, dim=1, largest=False).values for part in distances])
    if itself is None:
        return nearest.mean(dim=1)
    result = nearest[:, :neighbours].mean(dim=1)
    result[itself] = nearest[itself][:, 1:].mean(dim=1)
    return result
