"""Anybody's predictions: read from a file, checked, as logits and labels."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.metrics.inputs import as_labels, as_logits, check_probabilities
from calbench.benchmark.predictions.arrays import Arrays, read_arrays
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions

Kind = Literal["logits", "probabilities"]
CHECKPOINT = "last"

_LOGITS = ("logits", "logit", "z")
_PROBABILITIES = ("probabilities", "probability", "probas", "proba", "probs", "prob", "softmax")
_UNCLEAR = ("predictions", "prediction", "preds", "pred", "outputs", "output", "scores", "score", "y_pred", "y_score")
_LABELS = ("labels", "label", "targets", "target", "ground_truth", "y_true", "true_labels", "gt", "y")
_FEATURES = ("features", "feature", "embeddings")
_SPLITS = {"cal": "calibration", "val": "calibration", "calibration": "calibration", "valid": "calibration",
           "validation": "calibration", "test": "test"}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """How to read a file of predictions.

    Attributes:
        kind: whether the numbers are logits or probabilities; None where the names in the file say so.
        logits_key: the name of the logits or probabilities; None to recognise it.
        labels_key: the name of the labels; None to recognise it.
        labels_path: a file that holds the labels alone, where the first one does not.
    """

    kind: Kind | None = None
    logits_key: str | None = None
    labels_key: str | None = None
    labels_path: Path | None = None


def read_predictions(
    path: str | Path, *, kind: Kind | None = None, logits_key: str | None = None, labels_key: str | None = None
) -> SplitPredictions:
    """Read the predictions of one split.

    Args:
        path: npz, npy, csv, parquet, safetensors, HDF5 (CalArena) or pickle (Kängsepp).
        kind: whether the numbers are logits or probabilities, where their name does not say.
        logits_key: the name of the logits or probabilities, where it is not recognised.
        labels_key: the name of the labels, where it is not recognised.

    Returns:
        Logits (log-probabilities for a file of probabilities), labels, and features where there are some.

    Raises:
        InputError: a file that cannot be read, holds two splits, or whose names or kind are not plain.
        ValueError: numbers that are no logits, probabilities or labels; the message says which row.
    """
    splits = read_splits(Path(path), Source(kind, logits_key, labels_key))
    if len(splits) > 1:
        raise InputError(f"{Path(path).name}: holds {' and '.join(splits)}; one split is expected here")
    return next(iter(splits.values()))


def read_pair(
    path: str | Path, test_path: str | Path | None = None, *, source: Source | None = None,
    split: float | None = None, seed: int | None = 0,
) -> Predictions:  # fmt: skip
    """Read a calibration and a test split: from two files, from a file that holds both, or by splitting one.

    Args:
        path: the calibration split's file, or the only one.
        test_path: the test split's file, or None.
        source: how to read the files.
        split: the share of rows that make the calibration split, where one file holds one split.
        seed: of the random split; None takes the first rows for calibration.

    Raises:
        InputError: as for `read_predictions`; no way to tell the two splits, or a way too many.
    """
    path, source = Path(path), source or Source()
    splits = read_splits(path, source)
    if split is not None and (test_path is not None or len(splits) > 1):
        where = "the test split has a file of its own" if test_path is not None else f"{path.name} holds two splits"
        raise InputError(f"nothing to split: {where}")
    if test_path is not None:
        if len(splits) > 1 or len(read := read_splits(Path(test_path), source)) > 1:
            raise InputError("a file holds two splits already: give it alone")
        if os.path.samefile(path, test_path):
            raise InputError(f"{path.name}: a map is not judged on the rows that it was fitted on; see --split")
        calibration, test = next(iter(splits.values())), next(iter(read.values()))
        if calibration.logits.shape[1] != test.logits.shape[1]:
            raise InputError(
                f"{path.name} has {calibration.logits.shape[1]} classes, {Path(test_path).name} {test.logits.shape[1]}"
            )
    elif len(splits) == 2:
        calibration, test = splits["calibration"], splits["test"]
    elif split is None:
        raise InputError(f"{path.name} holds one split: give a second file, or the share to calibrate on (--split 0.5)")
    else:
        calibration, test = _split_rows(next(iter(splits.values())), split, seed, path.name)
    return Predictions({(CHECKPOINT, "calibration"): calibration, (CHECKPOINT, "test"): test})


def read_splits(path: Path, source: Source) -> dict[str, SplitPredictions]:
    """The splits of a file: ``calibration`` and ``test``, or one named ``all``."""
    arrays = read_arrays(path)
    if source.labels_path is not None:
        arrays |= {"labels": _only(read_arrays(source.labels_path), source.labels_path)}
    parts = _by_split(arrays, path.name, source)
    try:
        return {name: _make(part, source, path.name) for name, part in parts.items()}
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path.name}: {error}") from None


def _only(arrays: Arrays, path: Path) -> np.ndarray:
    if len(arrays) != 1:
        raise InputError(f"{path.name}: expected the labels alone, found {', '.join(arrays)}")
    return next(iter(arrays.values()))


def _by_split(arrays: Arrays, where: str, source: Source) -> dict[str, Arrays]:
    """Tell arrays apart by split where their names say it: ``labels_cal``, ``val/logits``."""
    if source.logits_key in arrays or len(arrays) == 1:
        return {"all": arrays}
    parts: dict[str, Arrays] = {}
    groups = set()
    for name, array in arrays.items():
        group, _, leaf = name.rpartition("/")
        stem, _, tail = leaf.rpartition("_")
        if group.rpartition("/")[2] in _SPLITS:
            group, _, tail = group.rpartition("/")
            stem = leaf
        split = _SPLITS.get(tail.lower(), "all")
        if source.logits_key is not None and group != source.logits_key.strip("/"):
            continue
        groups.add(group)
        parts.setdefault(split, {})[leaf if split == "all" else stem] = array
    if len(groups) > 1:
        raise InputError(f"{where}: holds several models; name one (--key): {', '.join(sorted(groups)[:10])}")
    if not parts:
        raise InputError(f"{where}: nothing is named {source.logits_key!r}; found {', '.join(arrays)}")
    if set(parts) == {"calibration", "test"} or len(parts) == 1:
        return {"all": next(iter(parts.values()))} if len(parts) == 1 else parts
    return {"all": {name.rpartition("/")[2]: array for name, array in arrays.items()}}


def _make(arrays: Arrays, source: Source, where: str) -> SplitPredictions:
    """One split, checked."""
    name, kind = _find_scores(arrays, source, where)
    values = torch.from_numpy(np.array(arrays[name], dtype=_native(arrays[name])))
    labels_name = source.labels_key if source.labels_key in arrays else _find(arrays, _LABELS, "labels", where)
    if values.ndim != 2:
        raise InputError(f"{where}: {name or 'the array'} has shape {tuple(values.shape)}, expected (rows, classes)")
    _check_kind(values, kind, source, where, name)
    logits = as_logits(values).float() if kind == "logits" else _log_probabilities(values)
    given = np.array(arrays[labels_name])
    given = given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given
    labels = as_labels(torch.from_numpy(given.astype(_native(given))), *logits.shape)
    features = [arrays[key] for key in _FEATURES if key in arrays]
    return SplitPredictions(logits, labels, torch.from_numpy(np.array(features[0])).float() if features else None)


def _native(array: np.ndarray) -> np.dtype:
    """The type of `array` in this machine's byte order."""
    return array.dtype.newbyteorder("=")


def _find_scores(arrays: Arrays, source: Source, where: str) -> tuple[str, Kind]:
    """The name of the logits or probabilities, and which of the two they are."""
    if source.logits_key in arrays:
        name = source.logits_key
    else:
        known = (*_LOGITS, *_PROBABILITIES, *_UNCLEAR)
        name = "" if "" in arrays else _find(arrays, known, "logits or probabilities", where)
    kind = source.kind or ("logits" if name.lower() in _LOGITS else None)
    kind = kind or ("probabilities" if name.lower() in _PROBABILITIES else None)
    if kind is None:
        what = f"{name!r}" if name else "the array"
        looks = "; its rows sum to one, as probabilities do" if _sums_to_one(np.asarray(arrays[name])) else ""
        raise InputError(
            f"{where}: say whether {what} holds logits (--logits) or probabilities (--probabilities){looks}"
        )
    return name, kind


def _find(arrays: Arrays, known: tuple[str, ...], what: str, where: str) -> str:
    found = [name for name in arrays if name.lower() in known]
    if len(found) == 1:
        return found[0]
    state = f"both {found[0]!r} and {found[1]!r} could be the" if found else "no"
    names = ", ".join(name or "one array" for name in arrays)
    raise InputError(f"{where}: {state} {what}; the file has: {names}. Give the name (of columns: prob_0, prob_1 ...)")


def _sums_to_one(values: np.ndarray) -> bool:
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        return False
    return bool(values.min() >= 0 and np.abs(values.sum(axis=1) - 1).max() < 1e-2)


def _check_kind(values: Tensor, kind: Kind, source: Source, where: str, name: str) -> None:
    """Refuse probabilities that come under the name of logits, unless the user has confirmed that they are logits."""
    if kind == "logits" and source.kind is None and _sums_to_one(values.numpy()):
        raise InputError(
            f"{where}: every row of {name!r} is non-negative and sums to one, as probabilities do: "
            "pass --probabilities, or confirm with --logits"
        )


def _log_probabilities(values: Tensor) -> Tensor:
    """The logarithm of probabilities, floored at the smallest normal number of float32."""
    check_probabilities(values)
    return values.float().clamp_min(torch.finfo(torch.float32).tiny).log()


def _split_rows(
    part: SplitPredictions, share: float, seed: int | None, where: str
) -> tuple[SplitPredictions, SplitPredictions]:
    count = round(share * len(part))
    if not 0 < count < len(part):
        raise InputError(f"{where}: a split of {share:g} leaves one side of its {len(part)} rows empty")
    order = torch.arange(len(part))
    if seed is not None:
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(part)))
    first, second = (
        SplitPredictions(**{name: tensor[rows] for name, tensor in part.tensors().items()})
        for rows in (order[:count], order[count:])
    )
    return first, second
