"""Reads labels from a separate file, in the same order as the predictions or matched by sample id."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions import names
from calbench.benchmark.predictions.choice import MissingError, find_labels, labels_named
from calbench.benchmark.predictions.columns import Field
from calbench.benchmark.predictions.parts import file_listing, label_parts
from calbench.benchmark.predictions.readers import open_contents
from calbench.benchmark.predictions.source import Source


@dataclass(frozen=True)
class LabelFile:
    """The labels of one split, as they are in their file.

    Attributes:
        name: the file's name.
        labels: as in the file.
        ids: the identity of each row by the name of its column; empty where the file has none.
        headless: whether the first row could be the header of a column without a name.
    """

    name: str
    labels: np.ndarray
    ids: dict[str, np.ndarray]
    headless: bool = False


def read_labels(path: Path, source: Source) -> dict[str, LabelFile]:
    """The labels of a file by split: ``calibration`` and ``test``, or ``all``.

    Raises:
        InputError: the file cannot be read, or it is not plain which of its arrays are the labels.
    """
    with open_contents(path) as contents:
        try:
            parts = label_parts(contents)
            return {split: _read(path.name, fields, source, not contents.header) for split, fields in parts.items()}
        except InputError as error:
            raise InputError(f"{path.name}: {error}") from None


def _read(name: str, fields: Sequence[Field], source: Source, headless: bool) -> LabelFile:
    ids = {field.word: field for field in fields if field.word in names.IDS or field.name == source.id_key}
    others = [field for field in fields if field not in ids.values()]
    try:
        if source.labels_key is not None and any(_is_named(field, source.labels_key) for field in fields):
            labels = labels_named(fields, source.labels_key)
        elif len(others) == 1:
            labels = others[0]
        else:
            labels = find_labels(others)
    except MissingError as error:
        raise InputError(f"{error.problem}; the file has {file_listing(fields)}. Add --labels-key NAME") from None
    read = {
        word: field.load().reshape(-1) for word, field in ids.items() if field is not labels and field.leaf.is_vector
    }
    return LabelFile(name, labels.load(), read, headless)


def _is_named(field: Field, key: str) -> bool:
    return key in (field.name, field.stem, *field.members) or names.normal(key) == field.word


def matched(
    file: LabelFile, fields: Sequence[Field], num_rows: int, id_key: str | None
) -> tuple[np.ndarray, list[str]]:
    """The labels in the order of the predictions, and a note on how the rows were matched.

    Args:
        file: the labels.
        fields: the arrays of the predictions' file.
        num_rows: N.
        id_key: the name of the column that identifies samples, where the user said it.

    Raises:
        InputError: a sample without a label, or with two.
    """
    words = [names.normal(id_key)] if id_key is not None else list(file.ids)
    for word in words:
        field = next(
            (f for f in fields if f.word == word and f.leaf.is_vector and f.leaf.shape[:1] == (num_rows,)), None
        )
        if word in file.ids and field is not None:
            return _joined(file, file.ids[word], field), [f"labels are matched by {field.name!r}"]
    if id_key is not None:
        raise InputError(f"{id_key!r} is not a column of both files")
    labels = file.labels
    if file.headless and len(labels) == num_rows + 1 and labels.ndim == 1 and labels[0] == 0:
        return labels[1:], ["the first line of the labels, 0, is taken as the header that pandas writes"]
    notes = (
        [f"labels are matched by order: the predictions have no column {next(iter(file.ids))!r}"] if file.ids else []
    )
    return labels, notes


def _joined(file: LabelFile, ids: np.ndarray, field: Field) -> np.ndarray:
    keys, wanted = _texts(ids), _texts(field.load().reshape(-1))
    places = {key: row for row, key in enumerate(keys)}
    if len(places) < len(keys):
        twice = next(key for row, key in enumerate(keys) if places[key] != row)
        raise InputError(f"{file.name}: {field.name} {twice} has two labels")
    rows = [places.get(key, -1) for key in wanted]
    if -1 in rows:
        row = rows.index(-1)
        raise InputError(f"{file.name} has no label for {field.name} {wanted[row]} (row {row})")
    return file.labels[rows]


def _texts(ids: np.ndarray) -> list[str]:
    """Identities as text: whole numbers without a decimal point."""
    if ids.dtype.kind == "f" and np.isfinite(ids).all() and (ids == np.round(ids)).all():
        ids = ids.astype(np.int64)
    return [str(value).strip() for value in ids.tolist()]
