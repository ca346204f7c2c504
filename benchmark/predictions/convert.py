"""Converts the chosen arrays to checked numbers: logits or probabilities (N, K), labels (N,)."""

from dataclasses import dataclass

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.labels import class_numbers
from calbench.benchmark.core.text import counted
from calbench.benchmark.predictions.choice import Choice
from calbench.benchmark.predictions.class_columns import sums_to_one
from calbench.benchmark.predictions.source import Kind, Source

TOLERANCE, HALF_TOLERANCE = 1e-4, 5e-3
_EXACT_BELOW = 128.0
_FEW = 10
_UNLABELLED = (-1, 255, -100)

_FEWEST_IN_ORDER = 20
"""Rows from which on it is no accident that all descend."""


@dataclass(frozen=True)
class Numbers:
    """The numbers of one split.

    Attributes:
        scores: logits or probabilities (N, K), float32 or float64.
        labels: (N,) int64.
        features: (N, D) float32, or None.
        kind: which of the two `scores` are.
        notes: what was done to them.
    """

    kind: Kind
    scores: np.ndarray
    labels: np.ndarray
    features: np.ndarray | None
    notes: tuple[str, ...] = ()


def convert(choice: Choice, labels: np.ndarray, source: Source) -> Numbers:
    """Check and convert the chosen arrays.

    Args:
        choice: what to use.
        labels: the labels as they are in the file.
        source: what the user said.

    Raises:
        InputError: not numbers, another shape, rows that are not distributions, labels that are not class numbers.
    """
    values, notes = _matrix(choice)
    if choice.kind == "probabilities":
        values, more = _probabilities(values, source.normalize, _tolerance(choice))
        _check_one_column(values, labels, choice, source)
        if not source.classes:  # named by the user, the columns are classes in whatever order
            _check_order(values, choice)
    else:
        values, more = _logits(values, choice, source), []
    notes += more
    try:
        numbers, more = _class_numbers(labels, choice, source, values)
    except ValueError as error:
        raise InputError(f"{error}{_label_hint(labels, choice, *values.shape)}") from None
    if choice.kind == "probabilities":
        more = [*more, *_zeros(values, numbers)]
    return Numbers(choice.kind, values, numbers, _features(choice), (*choice.notes, *notes, *more))


def _matrix(choice: Choice) -> tuple[np.ndarray, list[str]]:
    """The scores in two dimensions; one column is the score of the second of two classes."""
    field = choice.scores
    values, name = field.load(), field.name or "the array"
    if values.dtype.kind not in "fiub":
        raise InputError(f"{name} is text, not numbers" if values.dtype.kind in "US" else f"{name} is not numbers")
    if values.ndim not in (1, 2):
        several = "; write each (rows, classes) part, such as a model or split, under a name of its own"
        hint = several if values.ndim == 3 else ""
        raise InputError(f"{name} has shape {values.shape}, expected (rows, classes){hint}")
    if not len(values):
        raise InputError(f"{name} has no rows")
    values = _standard(values, choice.kind)
    if values.ndim == 2 and values.shape[1] > 1:
        return values, []
    column = values.reshape(-1)
    if field.leaf.kind != "f":
        raise InputError(f"{name} has one whole number per row, as class numbers; expected a score for each class")
    other = np.zeros_like(column) if choice.kind == "logits" else 1 - column
    if choice.kind == "probabilities" and not (np.isfinite(column).all() and 0 <= column.min() <= column.max() <= 1):
        raise InputError(f"{name} has one column, which is read as P(class 1) of two classes, but not all are in 0..1")
    what = "the logit" if choice.kind == "logits" else "the probability"
    return np.stack([other, column], axis=1), [f"{name} has one column: {what} of class 1 of two classes"]


def _check_order(values: np.ndarray, choice: Choice) -> None:
    """Refuse the k largest probabilities of each row, which tools of inference write next to the class numbers.

    Raises:
        InputError: all of 20 rows or more, which are not all the same, descend over three columns or more.
    """
    if len(values) < _FEWEST_IN_ORDER or values.shape[1] < 3 or (values == values[0]).all():
        return
    steps = np.diff(values, axis=1)
    if (steps <= 0).all() and (steps < 0).any(axis=1).all():
        raise InputError(
            f"{choice.scores.name or 'the array'} descends in every row, as a list of the largest probabilities does; "
            "write one column per class, always in the same order, or name the classes of the columns with --classes"
        )


def _standard(values: np.ndarray, kind: str) -> np.ndarray:
    """In float64 or float32; of wider types each row's maximum is subtracted from logits before the cast."""
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype in (np.float32, np.float64):
        return values
    if values.dtype in (np.float16, np.bool_):
        return values.astype(np.float32)
    if kind == "logits" and values.ndim == 2 and values.dtype.kind == "f" and values.size:
        values = values - values.max(axis=1, keepdims=True)
    return values.astype(np.float64)


def _logits(values: np.ndarray, choice: Choice, source: Source) -> np.ndarray:
    if source.normalize:
        raise InputError(f"--normalize is for probabilities, and {choice.scores.name or 'the array'} is read as logits")
    if source.kind is None and sums_to_one(values) and len(values) > 1:
        raise InputError(
            f"every row of {choice.scores.name!r} is non-negative and sums to one, as probabilities do: "
            "pass --probabilities, or confirm with --logits"
        )
    finite = np.isfinite(values)
    if not finite.all():
        row = int((~finite).any(axis=1).argmax())
        masked = not np.isnan(values).any() and not (values == np.inf).any()
        hint = "; for classes that are masked, write a finite number such as -1e4" if masked else ""
        raise InputError(f"logits: row {row} contains NaN or infinite values{hint}")
    return narrowed(values)


def narrowed(logits: np.ndarray) -> np.ndarray:
    """float64 as float32 where the differences within rows, and so the probabilities, stay what they are."""
    if logits.dtype == np.float32 or np.abs(logits.max(axis=1)).max() > _EXACT_BELOW:
        return logits
    if np.abs(logits).max() > np.finfo(np.float32).max:  # a mask by the least number of float64
        return logits
    narrow = logits.astype(np.float32)
    return narrow if (narrow.argmax(axis=1) == logits.argmax(axis=1)).all() else logits


def _tolerance(choice: Choice) -> float:
    """How far the sum of a row may be from one: half precision has three decimals."""
    return HALF_TOLERANCE if choice.scores.leaf.type_name in ("float16", "bfloat16") else TOLERANCE


def _check_one_column(values: np.ndarray, labels: np.ndarray, choice: Choice, source: Source) -> None:
    """Refuse one column without a number below 1/2: it looks like the probability of the predicted class.

    Raises:
        InputError: it does, and the user did not say that it contains probabilities of class 1.
    """
    if not choice.scores.leaf.is_vector or source.kind is not None or len(values) < _FEW or values[:, 1].min() < 0.5:
        return
    if len(np.unique(labels.astype(str))) > 1:
        raise InputError(
            f"{choice.scores.name} has one column and no number below 0.5: is it the probability of the predicted "
            "class? Save those of all classes, or confirm that it is P(class 1) of two classes with --probabilities"
        )


def _probabilities(values: np.ndarray, normalize: bool, tolerance: float = TOLERANCE) -> tuple[np.ndarray, list[str]]:
    if values.min() < -TOLERANCE or not np.isfinite(values).all():
        bad = ~(values.min(axis=1) >= -TOLERANCE) | ~np.isfinite(values).all(axis=1)
        row = int(bad.argmax())
        low = values[row].min()
        what = f"contains {low:.6g}, below 0" if np.isfinite(values[row]).all() else "contains NaN or infinite values"
        raise InputError(f"probabilities: row {row} {what}")
    totals = values.sum(axis=1, dtype=np.float64)
    off = np.abs(totals - 1) > TOLERANCE
    if not off.any():
        return values, []
    wrong = np.abs(totals - 1) > tolerance
    if not normalize and wrong.any():
        raise InputError(_sum_message(totals, wrong))
    if not totals.min() > 0:
        raise InputError(f"probabilities: row {int(totals.argmin())} is zero everywhere")
    return values.astype(np.float64) / totals[:, None], [
        f"{off.sum():,} of {counted(len(off), 'row')} did not sum to one ({totals.min():.6g} to {totals.max():.6g}) "
        "and were divided by their sum"
    ]


def _zeros(probabilities: np.ndarray, labels: np.ndarray) -> list[str]:
    count = int((np.take_along_axis(probabilities, labels[:, None], axis=1) <= 0).sum())
    if not count:
        return []
    return [
        f"{count:,} of {counted(len(labels), 'row')} give their own class a probability of 0: the NLL is infinite, and "
        "calibrators take half a unit of the last decimal, or 1e-38, in its place"
    ]


def _sum_message(totals: np.ndarray, wrong: np.ndarray) -> str:
    row = int(wrong.argmax())
    message = f"probabilities: row {row} sums to {totals[row]:.6g}, not to 1"
    if np.abs(totals / 100 - 1).max() < 0.05:
        return f"{message}; per cent? Add --normalize to divide every row by its sum"
    if np.abs(totals - 1).max() < 0.05:
        return f"{message}; rounded? Add --normalize to divide every row by its sum"
    return f"{message}. Logits? Then pass --logits; or --normalize divides every row by its sum"


def _class_numbers(
    labels: np.ndarray, choice: Choice, source: Source, scores: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Labels as 0..K-1, whatever they count from."""
    rows, num_classes = scores.shape
    classes = choice.class_names
    named = labels.dtype.kind in "USO" or bool(source.classes)
    if classes and len(classes) != num_classes and source.classes:
        raise InputError(f"--classes has {counted(len(classes), 'name')}, and the number of classes is {num_classes}")
    if named and len(classes) == num_classes and not _are_numbers(labels, classes):
        return class_numbers(labels, rows, num_classes, classes), []
    first = source.labels_from
    note: list[str] = []
    if first is None and choice.scores.first == 1 and choice.scores.members and _count_from_one(labels, num_classes):
        first, note = 1, [f"labels count from 1, as the columns {choice.scores.name} do"]
    if not first:
        numbers = class_numbers(labels, rows, num_classes)
        return numbers, [*note, *(_shift_note(numbers, scores) if first is None else [])]
    numbers = class_numbers(labels, rows, num_classes + first)
    if numbers.min(initial=first) < first:
        row = int((numbers < first).argmax())
        raise InputError(f"labels: row {row} is {numbers[row]}, outside {first}..{num_classes + first - 1}")
    return numbers - first, note


def _shift_note(labels: np.ndarray, scores: np.ndarray) -> list[str]:
    """A note where no label is 0 and labels that count from 1 would agree far better with the predictions."""
    if not len(labels) or labels.min() < 1:
        return []
    predicted = scores.argmax(axis=1)
    hits, shifted = int((predicted == labels).sum()), int((predicted == labels - 1).sum())
    if shifted - hits <= 3 * np.sqrt(len(labels)):
        return []
    return [
        f"no label is 0, and {shifted:,} predictions equal the label minus 1, {hits:,} the label: if labels count from "
        "1, add --labels-from 1"
    ]


def _are_numbers(labels: np.ndarray, classes: tuple[str, ...]) -> bool:
    """Whether labels in text are numbers, and the names of the classes are not."""
    if labels.dtype.kind not in "US":
        return False
    try:
        labels.astype(np.float64)
    except ValueError:
        return False
    return not {str(label).strip() for label in np.unique(labels)} <= set(classes)


def _count_from_one(labels: np.ndarray, num_classes: int) -> bool:
    if (
        labels.dtype.kind not in "fiu"
        or labels.ndim > 2
        or not labels.size
        or (labels.ndim == 2 and 1 not in labels.shape)
    ):
        return False
    return bool(labels.min() >= 1 and labels.max() <= num_classes)


def _label_hint(labels: np.ndarray, choice: Choice, rows: int, num_classes: int) -> str:
    """A hint for labels that are not class numbers."""
    if labels.dtype.kind in "USO" and labels.shape[:1] == (rows,):
        return " (--classes A,B,C)"
    if labels.dtype.kind in "fiu" and labels.size == rows:
        if labels.min() == 1 and labels.max() == num_classes:
            return "; classes are counted from 0: if these count from 1, add --labels-from 1"
        outside = np.unique(labels[(labels < 0) | (labels >= num_classes)])
        if len(outside) == 1 and outside[0] in _UNLABELLED and len(np.unique(labels)) > 2:
            return f"; if {outside[0]:g} marks rows without a label, leave these rows out"
        if choice.scores.leaf.is_vector and labels.min() >= 0:
            return (
                f"; {choice.scores.name} has one column, which is read as the score of class 1 of two classes: more "
                "classes need a score each"
            )
        if num_classes == 2 and set(np.unique(labels).tolist()) == {-1, 1}:
            return "; if -1 and 1 are the two classes, add --classes=-1,1"
    if rows == num_classes or (labels.shape[:1] == (num_classes,) and labels.ndim == 1):
        return "; the predictions may be transposed: rows are samples, columns are classes"
    if labels.shape[:1] == (rows + 1,) or labels.shape[:1] == (rows - 1,):
        return "; is there a header line in one of the files and none in the other?"
    return ""


def _features(choice: Choice) -> np.ndarray | None:
    return None if choice.features is None else np.asarray(choice.features.load(), dtype=np.float32)
