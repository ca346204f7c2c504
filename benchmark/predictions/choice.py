"""Chooses which arrays of a file are the logits or probabilities, the labels and the features of a split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calbench.benchmark.core.errors import InputError, nearest
from calbench.benchmark.predictions import names
from calbench.benchmark.predictions.class_columns import columns_named_by_class, sums_to_one
from calbench.benchmark.predictions.columns import Field, gaps
from calbench.benchmark.predictions.contents import Leaf
from calbench.benchmark.predictions.parts import Part, file_listing
from calbench.benchmark.predictions.source import Kind, Source

_GIVE_KIND = "--logits or --probabilities"
_GIVE_SCORES = f"--key NAME (of several columns: --key A,B,C) with {_GIVE_KIND}"
_MANY = 12
_GIVE_LABELS = "--labels-key NAME or --labels FILE"


@dataclass(frozen=True)
class Choice:
    """The arrays to use.

    Attributes:
        scores: the logits or probabilities.
        kind: which of the two they are.
        labels: the labels; None where they come from another file.
        features: the pooled features, or None.
        class_names: the names of the classes in the order of the columns, or ().
        notes: what a user should know of the choice.
    """

    scores: Field
    kind: Kind
    labels: Field | None
    features: Field | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class MissingError(Exception):
    """Something that a file does not have, and the option that gives it."""

    def __init__(self, problem: str, option: str) -> None:
        super().__init__(problem)
        self.problem, self.option = problem, option


def choose(part: Part, source: Source, elsewhere: np.ndarray | None = None, has_header: bool = True) -> Choice:
    """Choose the arrays of one split by their names.

    Args:
        part: the arrays.
        source: what the user said.
        elsewhere: the labels, if they come from another file.
        has_header: whether the arrays have names.

    Raises:
        InputError: something is missing or not plain; the message has all that is missing and the options that give it.
    """
    missing: list[MissingError] = []
    labels = scores = kind = None
    values = None if elsewhere is None else Leaf.of(elsewhere)
    notes: list[str] = []
    try:
        labels = _labels(part, source) if elsewhere is None else None
        values = values if labels is None else labels.leaf
    except MissingError as error:
        missing.append(error)
    try:
        scores, notes = _scores(part, source, labels, values, has_header)
        kind = _kind(scores, source)
    except MissingError as error:
        missing.append(error)
    if missing or scores is None or kind is None:
        problems = "; ".join(error.problem for error in missing)
        options = ", and ".join(dict.fromkeys(error.option for error in missing))
        raise InputError(f"{problems}; the file has {file_listing(part.fields)}. Add {options}")
    features = next((f for f in part.fields if f.word in names.FEATURES and f.leaf.is_matrix and f is not scores), None)
    return Choice(scores, kind, labels, features, _class_names(part, source, scores), tuple(notes))


def _scores(
    part: Part, source: Source, labels: Field | None, label_values: Leaf | None, has_header: bool
) -> tuple[Field, list[str]]:
    if part.scores is not None:
        return part.scores, []
    if len(part.fields) == 1 and part.fields[0].name == "":
        return part.fields[0], []
    if not has_header and label_values is not None:
        return _all_columns([field for field in part.fields if field is not labels]), []
    found = _best(part, source)
    if len(found) > 1:
        found = _agreeing(found)
    if len(found) == 1:
        return found[0], []
    if found:
        shown = " and ".join(repr(field.name) for field in found[:2])
        raise MissingError(f"both {shown} could be the logits or probabilities", "--key NAME")
    by_class = columns_named_by_class(part.fields, label_values)
    if by_class is not None:
        return by_class, []
    matrices = [f for f in part.fields if f.leaf.is_matrix and f is not labels and f.word not in names.FEATURES]
    if source.kind is not None and len(matrices) == 1:
        return matrices[0], [f"{matrices[0].name} is taken as the {source.kind}: it is the only matrix"]
    if len(matrices) == 1 and has_header:
        raise _unclear(matrices[0], f"{matrices[0].name!r}, the only matrix,")
    if not has_header:
        raise MissingError("there is no header line, so columns have numbers instead of names", _GIVE_LABELS)
    hint = "".join(f" ({text})" for text in gaps(part.fields)[:1])
    raise MissingError(
        f"no logits or probabilities are recognised{hint}", _GIVE_SCORES if hint else _columns_option(part, labels)
    )


def _columns_option(part: Part, labels: Field | None) -> str:
    """The option that names the scores, with the columns of fractional numbers if these can be the classes."""
    columns = [
        field.name for field in part.fields if field.leaf.kind == "f" and field.leaf.is_vector and field is not labels
    ]
    if not 1 < len(columns) <= _MANY:
        return _GIVE_SCORES
    return f"--key {','.join(columns)} (the columns of the classes, in their order) with {_GIVE_KIND}"


def _all_columns(fields: Sequence[Field]) -> Field:
    if any(not field.leaf.is_numeric for field in fields) or not fields:
        raise MissingError("there is no header line, and a column is text", _GIVE_SCORES)

    def load() -> np.ndarray:
        return np.column_stack([field.load() for field in fields])

    title = f"columns {fields[0].name} to {fields[-1].name}"
    return Field(title, title, Leaf((fields[0].leaf.shape[0], len(fields)), "f", fields[0].leaf.type_name, load))


def _best(part: Part, source: Source) -> list[Field]:
    """The fields of the plainest name: logits or probabilities before names such as ``pred``; matrices first."""
    orders = {"logits": (names.LOGITS,), "probabilities": (names.PROBABILITIES,), None: ()}[source.kind]
    for known in (*orders, (*names.LOGITS, *names.PROBABILITIES), names.UNCLEAR):
        fields = [field for field in part.fields if field.word in known and field.leaf.is_numeric]
        matrices = [field for field in fields if not field.leaf.is_vector]
        columns = [field for field in fields if field.leaf.is_vector and _are_scores(field)]
        if matrices or columns:
            return matrices or columns
    return []


def _are_scores(field: Field) -> bool:
    """Whether one column can be a score of two classes: class numbers are none."""
    if field.leaf.kind != "f" or not field.leaf.shape or field.leaf.shape[0] == 0:
        return False
    values = field.load()
    return bool((values != np.round(values)).any())


def _agreeing(fields: list[Field]) -> list[Field]:
    """Only the logits, where logits and probabilities agree."""
    logits = [field for field in fields if field.word in names.LOGITS]
    others = [field for field in fields if field.word in names.PROBABILITIES]
    if len(logits) != 1 or len(others) != 1 or logits[0].leaf.shape != others[0].leaf.shape or len(fields) != 2:
        return fields
    values, probabilities = logits[0].load().astype(np.float64), others[0].load().astype(np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        return fields
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return logits if np.abs(powers / powers.sum(axis=1, keepdims=True) - probabilities).max() < 1e-3 else fields


def _kind(scores: Field, source: Source) -> Kind:
    if source.kind is not None:
        return source.kind
    word = scores.word
    if word in names.LOGITS:
        return "logits"
    if word in names.PROBABILITIES:
        return "probabilities"
    if scores.classes and scores.leaf.is_numeric and sums_to_one(scores.load()):
        return "probabilities"
    raise _unclear(scores, repr(scores.name) if scores.name else "the array")


def _unclear(scores: Field, what: str) -> MissingError:
    sums = scores.leaf.is_numeric and sums_to_one(scores.load())
    looks = " (its rows sum to one, as probabilities do)" if sums else ""
    return MissingError(f"it is not clear whether {what} is logits or probabilities{looks}", _GIVE_KIND)


def _labels(part: Part, source: Source) -> Field:
    if source.labels_key is not None:
        return labels_named(part.fields, source.labels_key)
    return find_labels([field for field in part.fields if field is not part.scores])


def labels_named(fields: Sequence[Field], key: str) -> Field:
    """The field that the user named as the labels.

    Raises:
        MissingError: there is no such field.
    """
    for field in fields:
        if key in (field.name, field.stem, *field.members):
            return field
    for field in fields:
        if names.normal(key) == field.word or key.strip("/") == field.stem:
            return field
    near = nearest(key, [field.name for field in fields])
    raise MissingError(f"no labels are named {key!r}{near}", "--labels-key NAME")


def find_labels(fields: Sequence[Field]) -> Field:
    """The labels by their name.

    Raises:
        MissingError: there are none, or several that differ.
    """
    found: list[Field] = []
    for known in (names.LABELS, names.WEAK_LABELS):
        found = [field for field in fields if field.word in known and _may_be_labels(field)]
        if found:
            break
    if not found:
        raise MissingError("no labels are recognised", _GIVE_LABELS)
    numeric = [field for field in found if not field.leaf.is_text]
    found = numeric if numeric else found
    found = [field for field in found if field.leaf.is_vector] or found
    if len(found) > 1 and not _equal(found):
        shown = " and ".join(repr(field.name) for field in found[:2])
        raise MissingError(f"both {shown} could be the labels", "--labels-key NAME")
    return found[0]


def _may_be_labels(field: Field) -> bool:
    if field.leaf.kind == "O" and field.leaf.shape:
        return True  # refused with its reason where it is read
    return bool(field.leaf.shape) and len(field.leaf.shape) <= 2 and (field.leaf.is_numeric or field.leaf.is_text)


def _equal(fields: Sequence[Field]) -> bool:
    first, *others = (field.load().reshape(-1) for field in fields)
    return all(first.shape == other.shape and bool((first == other).all()) for other in others)


def _class_names(part: Part, source: Source, scores: Field) -> tuple[str, ...]:
    if source.classes:
        return source.classes
    if scores.classes:
        return scores.classes
    count = scores.leaf.shape[1] if len(scores.leaf.shape) == 2 else 2
    for field in part.fields:
        if field.word in names.CLASS_NAMES and field.leaf.is_text and field.leaf.shape == (max(count, 2),):
            return tuple(str(name).strip() for name in field.load())
    return ()
