"""Significance of attention against a bootstrap null, on patches.

Chung and Laletin 2026, arXiv 2604.01339. There the maps are upsampled to pixels first, which makes many copies of each
value; here every patch counts once.
"""

import numpy as np

FEWEST_NULLS = 20
PI0_LAMBDA = 0.5


def null_p_values(scores: np.ndarray, nulls: np.ndarray) -> np.ndarray:
    """One-sided p values, (1 + #{null >= a}) / (1 + #null), against the null scores of all patches of all null images.

    Args:
        scores: attention on the patches of one image (P,).
        nulls: the same of its null images (B, P), with B at least `FEWEST_NULLS`.

    Returns:
        (P,).

    Raises:
        ValueError: too few null images.
    """
    if len(nulls) < FEWEST_NULLS:
        raise ValueError(f"{len(nulls)} null images; at least {FEWEST_NULLS} are needed")
    ordered = np.sort(nulls, axis=None)
    larger = ordered.size - np.searchsorted(ordered, scores, side="left")
    return (1 + larger) / (1 + ordered.size)


def benjamini_hochberg(p_values: np.ndarray, level: float = 0.05) -> np.ndarray:
    """Which hypotheses are rejected at a false discovery rate of `level` (P,) bool."""
    count = len(p_values)
    order = np.argsort(p_values)
    below = np.flatnonzero(p_values[order] <= level * np.arange(1, count + 1) / count)
    rejected = np.zeros(count, dtype=bool)
    if len(below):
        rejected[order[: below[-1] + 1]] = True
    return rejected


def local_fdr(p_values: np.ndarray) -> np.ndarray:
    """The local false discovery rate pi0 / f(p) of every p value (P,), at most 1.

    f is Grenander's estimate of a decreasing density; pi0 is Storey's estimate from the p values above a half.
    """
    count = len(p_values)
    pi0 = min(1.0, (1 + np.sum(p_values > PI0_LAMBDA)) / (count * (1 - PI0_LAMBDA)))
    points = np.unique(np.concatenate([[0.0], p_values, [1.0]]))
    heights = np.searchsorted(np.sort(p_values), points, side="right") / count
    heights[0] = 0.0
    corners = _concave_majorant(points, heights)
    slopes = np.diff(heights[corners]) / np.diff(points[corners])
    place = np.clip(np.searchsorted(points[corners], p_values, side="left") - 1, 0, len(slopes) - 1)
    return np.minimum(1.0, pi0 / np.maximum(slopes[place], 1e-12))


def _concave_majorant(x: np.ndarray, y: np.ndarray) -> list[int]:
    """Indices of the corners of the least concave function above the points."""
    corners: list[int] = []
    for i in range(len(x)):
        while len(corners) >= 2:
            a, b = corners[-2], corners[-1]
            if (y[b] - y[a]) * (x[i] - x[b]) > (y[i] - y[b]) * (x[b] - x[a]):
                break
            corners.pop()
        corners.append(i)
    return corners


def regularised(scores: np.ndarray, significant: np.ndarray) -> np.ndarray:
    """Scores with the insignificant ones zero (P,); what is left is renormalised, if anything is."""
    kept = np.where(significant, scores, 0.0)
    return kept / kept.sum() if kept.sum() > 0 else kept


def shrinkage(before: np.ndarray, after: np.ndarray, region: np.ndarray) -> float:
    """How far attention on a region without meaning falls: mean percentile of its patches after, over before.

    The percentile of a patch is the share of the patches outside of the region with a smaller score.

    Args:
        before: attention on the patches (P,).
        after: the same, regularised.
        region: which patches are in the region (P,) bool, for example a square of noise.

    Returns:
        0 where the region has no attention left, 1 where nothing changed; NaN where it had the lowest before.
    """
    first, second = (_mean_percentile(scores, region) for scores in (before, after))
    return second / first if first > 0 else float("nan")


def sparsity(after: np.ndarray, region: np.ndarray) -> float:
    """The share of the region's patches without any attention."""
    return float(np.mean(after[region] == 0))


def _mean_percentile(scores: np.ndarray, region: np.ndarray) -> float:
    rest = np.sort(scores[~region])
    return float(np.mean(np.searchsorted(rest, scores[region], side="left") / len(rest)))
