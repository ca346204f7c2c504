"""Joins the columns of a file that are numbered by class (``prob_0``, ``prob_1`` ...) into one matrix."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.contents import Contents, Leaf
from calbench.benchmark.predictions.names import LOGITS, PROBABILITIES, UNCLEAR, normal

_DIGITS = re.compile(r"\d+")
_MOST_DIGITS = 7
_POSITIONS = {"arr_0": "logits", "arr_1": "labels"}
"""What ``np.savez(file, logits, labels)`` calls the two."""
_SCORES = frozenset((*LOGITS, *PROBABILITIES, *UNCLEAR))


@dataclass(frozen=True)
class Field:
    """One array of a file, or several columns that make one.

    Attributes:
        name: the array's name, or that of the first column and the last.
        stem: the name without the numbers of columns: ``prob`` for ``prob_0``, ``prob_1`` ...
        leaf: the array.
        members: the names of the columns, if the field consists of several.
        first: the number in the name of the first column.
        classes: the names of the columns where they are those of classes.
    """

    name: str
    stem: str
    leaf: Leaf
    members: tuple[str, ...] = ()
    first: int | None = None
    classes: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The path of the group or container that the array is in."""
        return self.stem.rpartition("/")[0]

    @property
    def word(self) -> str:
        """The name without path, in lower case, words joined by underscores."""
        return normal(self.stem.rpartition("/")[2])

    def load(self) -> np.ndarray:
        """Read the array."""
        return self.leaf.load()


def fields_of(contents: Contents) -> list[Field]:
    """The fields of a file.

    Columns named alike but for one number (``logit_0``, ``logit_1`` ...; ``class_0_prob`` ...) make one matrix, in the
    order of their numbers, where these run from 0 or from 1 on without a gap; otherwise they stay apart.
    """
    stems = _POSITIONS if _is_pair(contents) else {}
    groups = _numbered(contents) if contents.header and not stems else {}
    fields = {name: Field(name, stems.get(name, name), leaf) for name, leaf in contents.leaves.items()}
    for stem, members in groups.items():
        members.sort()
        numbers = [number for number, _ in members]
        names = tuple(name for _, name in members)
        if len(names) > 1 and numbers in (list(range(len(names))), list(range(1, len(names) + 1))):
            stem = f"{stem}_*" if stem in contents.leaves else stem
            fields[names[0]] = stacked(_of_numbers(contents, names), names, stem=stem, first=numbers[0])
            for name in names[1:]:
                del fields[name]
        elif numbers == [1] and stem not in contents.leaves:
            name = members[0][1]
            fields[name] = Field(name, stem, contents.leaves[name], first=1)
    return list(fields.values())


def _is_pair(contents: Contents) -> bool:
    """Whether a file consists of a matrix and a label for each of its rows, named by their positions."""
    if [*contents.leaves] != [*_POSITIONS]:
        return False
    scores, labels = contents.leaves.values()
    return scores.is_matrix and labels.is_vector and labels.shape[:1] == scores.shape[:1]


def _of_numbers(contents: Contents, names: Sequence[str]) -> Contents:
    """The columns, those of text as numbers that are an error where one is asked for."""
    leaves = {name: contents.leaves[name] for name in names}
    for name, leaf in leaves.items():
        if leaf.is_text:
            load = partial(_parsed, name, leaf)
            leaves[name] = Leaf(leaf.shape, "f", "float64", load)
    return Contents(leaves)


def _parsed(name: str, leaf: Leaf) -> np.ndarray:
    """A column of text as numbers.

    Raises:
        InputError: a cell that is no number; the message has its row.
    """
    numbers = np.empty(leaf.shape[0])
    for row, text in enumerate(leaf.load().reshape(-1).tolist()):
        try:
            numbers[row] = float(text) if text.strip() else np.nan
        except ValueError:
            advice = "write plain numbers, without % or thousands separators" if _DIGITS.search(text) else "correct it"
            advice = "a second header line?" if text.strip() == name else advice
            raise InputError(f"{name}: row {row} is {text[:40]!r}, not a number; {advice}") from None
    return numbers


def stacked(
    contents: Contents, names: Sequence[str], *, stem: str = "", first: int | None = None, classes: Sequence[str] = ()
) -> Field:
    """Columns as one matrix (N, columns)."""
    leaves = [contents.leaves[name] for name in names]
    kinds = {leaf.kind for leaf in leaves}
    kind = "U" if "U" in kinds else "f" if "f" in kinds else next(iter(kinds)) if len(kinds) == 1 else "i"

    def load() -> np.ndarray:
        return np.column_stack([leaf.load().reshape(-1) for leaf in leaves])

    leaf = Leaf((leaves[0].shape[0], len(names)), kind, leaves[0].type_name, load)
    title = f"{names[0]} ... {names[-1].rpartition('/')[2]}" if len(names) > 2 else ", ".join(names)
    return Field(title, stem or title, leaf, tuple(names), first, tuple(classes))


def _numbered(contents: Contents) -> dict[str, list[tuple[int, str]]]:
    """Columns of numbers by the rest of their name and their length, with the number in it.

    Text counts in a table's columns of scores: a class whose column has one word in it is not left out.
    """
    groups: dict[str, dict[int, list[tuple[int, str]]]] = {}
    for name, leaf in contents.leaves.items():
        if not (leaf.shape and leaf.is_vector and (leaf.is_numeric or (leaf.is_text and contents.is_table))):
            continue
        template = _template(name)
        if template is not None and (leaf.is_numeric or normal(template[0].rpartition("/")[2]) in _SCORES):
            stem, number = template
            groups.setdefault(stem, {}).setdefault(leaf.shape[0], []).append((number, name))
    found = {stem: next(iter(lengths.values())) for stem, lengths in groups.items() if len(lengths) == 1}
    return {stem: members for stem, members in found.items() if _may_be_numbers(contents, stem, members)}


def _may_be_numbers(contents: Contents, stem: str, members: Sequence[tuple[int, str]]) -> bool:
    """Whether columns are of numbers, with or without text in them; names of the first guesses are not."""
    scores = (*LOGITS, *PROBABILITIES)
    return any(contents.leaves[name].is_numeric for _, name in members) or normal(stem.rpartition("/")[2]) in scores


def _template(name: str) -> tuple[str, int] | None:
    """The last number in a name, and the name without it."""
    folder, slash, leaf = name.rpartition("/")
    runs = list(_DIGITS.finditer(leaf))
    if not runs or len(runs[-1].group()) > _MOST_DIGITS:
        return None
    before, after = leaf[: runs[-1].start()].rstrip(" _.-[({:#"), leaf[runs[-1].end() :].strip(" _.-])}:")
    return f"{folder}{slash}{'_'.join(part for part in (before, after) if part)}", int(runs[-1].group())


def gaps(fields: Iterable[Field]) -> list[str]:
    """Why columns make no scores: what cannot be read, and where numbers leave one out, which is missing."""
    fields = list(fields)
    stems: dict[str, dict[int, str]] = {}
    for field in fields:
        template = None if field.members else _template(field.name)
        if template is not None and field.leaf.is_numeric:
            stems.setdefault(template[0], {})[template[1]] = field.name
    found = [reason for field in fields if (reason := _refusal(field)) is not None]
    for numbers in stems.values():
        missing = sorted(set(range(min(numbers), max(numbers) + 1)) - set(numbers))[:1] if len(numbers) > 1 else []
        if len(numbers) > 1 and (missing or min(numbers) > 1):
            before = numbers[min(numbers)]
            number = missing[0] if missing else 0
            found.append(f"the columns from {before} on are no complete set of classes: number {number} is missing")
    return found


def _refusal(field: Field) -> str | None:
    """Why scores cannot be read: two columns of one name, rows of different lengths."""
    template = _template(field.name)
    stem = field.name if template is None else template[0]
    if field.leaf.kind != "O" or normal(stem.rpartition("/")[2]) not in _SCORES:
        return None
    try:
        field.load()
    except InputError as error:
        return str(error)
    return None


def common_part(names: Sequence[str]) -> tuple[str, ...]:
    """The names of classes in the names of columns: what differs between them, cut at separators.

    >>> common_part(["prob_cat", "prob_dog"])
    ('cat', 'dog')
    """
    words = [re.split(r"([_.\- ]+)", name) for name in names]
    while all(len(one) > 2 for one in words) and len({(one[0], one[1]) for one in words}) == 1:
        words = [one[2:] for one in words]
    while all(len(one) > 2 for one in words) and len({(one[-1], one[-2]) for one in words}) == 1:
        words = [one[:-2] for one in words]
    return tuple("".join(one) for one in words)
