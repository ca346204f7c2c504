"""Attention over epochs: when it becomes less even, and when confidence outgrows accuracy."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from calbench.benchmark.training.attention_curve import ENTROPY

Row = dict[str, Any]


def course_rows(place: Row, history: Sequence[dict[str, float]]) -> list[Row]:
    """Entropy, confidence minus accuracy and NLL of every epoch, for a table.

    Args:
        place: columns that every row starts with.
        history: what training recorded, one record per epoch; without ``attention_curve`` there are no rows.
    """
    rows: list[Row] = []
    for epoch in history:
        entropies = [value for name, value in epoch.items() if name.startswith(ENTROPY)]
        if entropies:
            rows.append(
                place | {
                    "epoch": int(epoch["epoch"]), "attention_entropy": float(np.mean(entropies)),
                    "signed_gap": epoch["signed-gap"], "accuracy": epoch["accuracy"], "nll": epoch["nll"],
                }
            )  # fmt: skip
    return rows


def order_row(place: Row, rows: Sequence[Row]) -> Row:
    """When a run's entropy had fallen, and its gap risen, by half of the way; ``lead`` is how much earlier the entropy.

    Args:
        place: columns that the row starts with.
        rows: of `course_rows`, in the order of the epochs.
    """
    epochs = np.array([row["epoch"] for row in rows], dtype=float)
    entropy, gap = (np.array([row[name] for row in rows]) for name in ("attention_entropy", "signed_gap"))
    entropy_half, gap_half = half_way(epochs, entropy, falling=True), half_way(epochs, gap, falling=False)
    return place | {
        "entropy_first": entropy[0], "entropy_last": entropy[-1], "gap_lowest": gap.min(), "gap_last": gap[-1],
        "entropy_half": entropy_half, "gap_half": gap_half, "lead": gap_half - entropy_half,
    }  # fmt: skip


def half_way(epochs: np.ndarray, values: np.ndarray, falling: bool) -> float:
    """The epoch, between two by interpolation, after which values stay beyond half of their way from extreme to end.

    The way leads from the highest value (the lowest, if they rise) to the last one.

    Args:
        epochs: ascending (E,).
        values: (E,).
        falling: whether the way down is asked for.

    Returns:
        NaN where there is no such way: the last value is the extreme itself.

    Example:
        >>> half_way(np.arange(1.0, 5), np.array([0.9, 0.9, 0.5, 0.5]), falling=True)
        2.5
    """
    signed = -values if falling else values
    start = int(signed.argmin())
    middle = (signed[start] + signed[-1]) / 2
    if signed[-1] <= signed[start]:
        return float("nan")
    before = np.flatnonzero(signed < middle)[-1]  # the last epoch on the near side of the middle
    share = (middle - signed[before]) / (signed[before + 1] - signed[before])
    return float(epochs[before] + share * (epochs[before + 1] - epochs[before]))
