"""Reads prediction files of any supported format as checked logits and labels of splits."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from calbench.benchmark.core.caller import level_outside
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.convert import Numbers
from calbench.benchmark.predictions.parts import CALIBRATION, TEST
from calbench.benchmark.predictions.reading import Note, read_numbers, read_pair_numbers
from calbench.benchmark.predictions.source import Kind, Source

if TYPE_CHECKING:  # torch takes seconds to import: files are read and checked first
    from torch import Tensor

    from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions

CHECKPOINT = "last"

__all__ = ["CHECKPOINT", "Kind", "Source", "read_pair", "read_predictions", "read_splits"]


def read_predictions(
    path: str | Path, *, kind: Kind | None = None, logits_key: str | None = None, labels_key: str | None = None,
    labels: str | Path | None = None, classes: Sequence[str] = (), labels_from: int | None = None,
    normalize: bool = False,
) -> "SplitPredictions":  # fmt: skip
    """Read the predictions of one split.

    Args:
        path: npz, npy, text in columns, JSON, Parquet, Feather, safetensors, HDF5, MATLAB, torch or pickle.
        kind: whether the numbers are logits or probabilities, where their name does not say.
        logits_key: the name of the logits or probabilities, where it is not recognised.
        labels_key: the name of the labels, where it is not recognised.
        labels: a file of the labels, in the same order or with the same ids.
        classes: the classes as the labels name them, in the order of the columns.
        labels_from: the number of the first class in the labels, where it is not 0.
        normalize: whether to divide every row of probabilities by its sum.

    Returns:
        Logits (log-probabilities for a file of probabilities, which are kept too), labels, and features if present.

    Raises:
        InputError: a file that cannot be read, contains two splits, whose names or kind are not plain, or whose numbers
            are not logits, probabilities or labels; the message names the row.

    Example:
        >>> part = read_predictions("predictions.npz")  # doctest: +SKIP
        >>> part.logits.shape, part.labels.shape  # doctest: +SKIP
        (torch.Size([5000, 10]), torch.Size([5000]))
    """
    labels_path = None if labels is None else Path(labels)
    how = Source(
        kind, logits_key, labels_key, labels_path, classes=tuple(classes), labels_from=labels_from, normalize=normalize
    )
    splits = read_splits(Path(path), how)
    if len(splits) > 1:
        raise InputError(f"{Path(path).name}: contains {' and '.join(splits)}; one split is expected here")
    return next(iter(splits.values()))


def read_splits(path: Path, source: Source, note: Note | None = None) -> "dict[str, SplitPredictions]":
    """The splits of a file: ``calibration`` and ``test``, or one named ``all``.

    Args:
        path: the file.
        source: how to read it.
        note: gets a line for everything that a user should know of how the file was read; None makes warnings of them.

    Raises:
        InputError: as for `read_predictions`.
    """
    return {split: _predictions(part) for split, part in read_numbers(Path(path), source, note or _warn).items()}


def read_pair(
    path: str | Path, test_path: str | Path | None = None, *, source: Source | None = None,
    split: float | None = None, seed: int | None = 0, note: Note | None = None, split_if_one: bool = False,
) -> "Predictions":  # fmt: skip
    """Read a calibration and a test split: from two files, from a file that has both, or by splitting one.

    Args:
        path: the calibration split's file, or the only one.
        test_path: the test split's file, or None.
        source: how to read the files.
        split: the share of rows that make the calibration split, where one file contains one split.
        seed: of the random split, which keeps the share of every class; None takes the first rows for calibration.
        note: as for `read_splits`.
        split_if_one: whether `split` is only for a file of one split, and ignored where a file contains two.

    Raises:
        InputError: as for `read_predictions`; no way to make two splits, or more than one.
    """
    second = None if test_path is None else Path(test_path)
    numbers = read_pair_numbers(Path(path), second, source or Source(), split, seed, note or _warn, split_if_one)
    from calbench.benchmark.predictions.predictions import Predictions

    parts = zip((CALIBRATION, TEST), numbers, strict=True)
    return Predictions({(CHECKPOINT, name): _predictions(part) for name, part in parts})


def _predictions(numbers: Numbers) -> "SplitPredictions":
    from calbench.benchmark.predictions.predictions import SplitPredictions, log_probabilities

    labels = _tensor(numbers.labels)
    features = None if numbers.features is None else _tensor(numbers.features)
    scores = _tensor(numbers.scores)
    if numbers.kind == "logits":
        return SplitPredictions(scores, labels, features)
    return SplitPredictions(log_probabilities(scores), labels, features, probabilities=scores)


def _tensor(array: np.ndarray) -> "Tensor":
    import torch

    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _warn(line: str) -> None:
    warnings.warn(line, stacklevel=level_outside())
