"""Recognises columns of scores that are named after the classes: ``cat``, ``dog``; ``prob_cat``, ``prob_dog``."""

from collections.abc import Sequence

import numpy as np

from calbench.benchmark.predictions import names
from calbench.benchmark.predictions.columns import Field
from calbench.benchmark.predictions.contents import Leaf

SUM_TOLERANCE = 1e-2
_SCORES = (*names.LOGITS, *names.PROBABILITIES, *names.UNCLEAR)


def columns_named_by_class(fields: Sequence[Field], labels: Leaf | None) -> Field | None:
    """The columns whose names are those that the labels take, with the classes in the order of the columns.

    A known name may be before or after that of the class (``prob_cat``, ``cat_prob``). Columns of bare names of classes
    count where all of their rows sum to one.
    """
    if labels is None or not labels.is_text or not labels.shape:
        return None
    values = {str(value).strip() for value in np.unique(labels.load().astype(str))} - {""}
    columns = [f for f in fields if f.leaf.kind == "f" and len(f.leaf.shape) == 1 and not f.members]
    rows = columns[0].leaf.shape[0] if columns else 0
    columns = [f for f in columns if f.leaf.shape == (rows,) and f.leaf is not labels]
    for word in _SCORES:
        named = [(_rest(field.name, word), field) for field in columns]
        group = {rest: field for rest, field in named if rest is not None}
        if values and len(group) > 1 and values <= group.keys():
            return _matrix(group, rows, word)
    group = {field.name: field for field in columns}
    if not values or not values <= group.keys():
        return None
    for classes in (list(group), [name for name in group if name in values]):
        chosen = {name: group[name] for name in classes}
        if len(chosen) > 1 and sums_to_one(np.column_stack([field.load() for field in chosen.values()])):
            return _matrix(chosen, rows, "")
    return None


def _rest(name: str, word: str) -> str | None:
    """The name of a class in ``<word>_<class>`` or ``<class>_<word>``; None if `name` is neither."""
    plain = name.lstrip("._ ")
    for separator in "_.- ":
        if names.normal(plain).startswith(f"{word}_") and plain.lower().startswith(f"{word}{separator}"):
            return plain[len(word) + 1 :]
        if plain.lower().startswith((f"{word}(", f"{word}[")) and plain.endswith((")", "]")):
            return plain[len(word) + 1 : -1]
        if plain.lower().endswith(f"{separator}{word}"):
            return plain[: -len(word) - 1]
    return None


def _matrix(group: dict[str, Field], rows: int, word: str) -> Field:
    columns = tuple(field.name for field in group.values())
    title = ", ".join(columns) if len(columns) < 4 else f"{columns[0]} ... {columns[-1]}"
    type_name = next(iter(group.values())).leaf.type_name
    leaf = Leaf((rows, len(group)), "f", type_name, lambda: np.column_stack([field.load() for field in group.values()]))
    return Field(title, word or title, leaf, columns, classes=tuple(group))


def sums_to_one(values: np.ndarray, tolerance: float = SUM_TOLERANCE) -> bool:
    """Whether all rows of a matrix are non-negative and sum to one, as probabilities do, but for rows of NaN.

    Rows that are missing are refused later, by name; they do not make logits of the others, unless most are missing.
    """
    if values.ndim != 2 or not values.size:
        return False
    missing = np.isnan(values).all(axis=1)
    values = values[~missing] if missing.any() else values
    if not np.isfinite(values).all() or missing.sum() > len(values):
        return False
    return bool(values.min() >= 0 and np.abs(values.sum(axis=1, dtype=np.float64) - 1).max() < tolerance)
