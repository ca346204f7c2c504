"""From prediction files to checked numbers, without importing torch, so that errors appear quickly."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.text import counted
from calbench.benchmark.predictions.choice import choose
from calbench.benchmark.predictions.columns import Field
from calbench.benchmark.predictions.contents import Contents, Leaf
from calbench.benchmark.predictions.convert import Numbers, convert
from calbench.benchmark.predictions.label_files import LabelFile, matched, read_labels
from calbench.benchmark.predictions.parts import ALL, CALIBRATION, TEST, Part, find_parts
from calbench.benchmark.predictions.readers import open_contents
from calbench.benchmark.predictions.source import Source

Note = Callable[[str], None]
_MOST_DIGITS = 7


def read_numbers(path: Path, source: Source, note: Note, split: str = ALL) -> dict[str, Numbers]:
    """The numbers of a file's splits: ``calibration`` and ``test``, or one named ``all``.

    Args:
        path: the file.
        source: how to read it.
        note: gets a line for everything that a user should know of how the file was read.
        split: which split the file is, if it contains one.

    Raises:
        InputError: a file that cannot be read, whose names or kind are not plain, or whose numbers are no logits,
            probabilities or labels; the message has what is wrong, where, and the option that helps.
    """
    with open_contents(path) as opened:
        try:
            contents = _by_column(opened, source)
            labels = None if source.labels_path is None else read_labels(source.labels_path, source)
            parts = find_parts(contents, source.logits_key)
            numbers = {
                name: _read_part(part, _labels_of(labels, name, split, path.name), source, contents.header)
                for name, part in parts.items()
            }
        except InputError as error:
            named = any(str(error).startswith(f"{p.name}: ") for p in (source.labels_path,) if p is not None)
            raise (error if named else InputError(f"{path.name}: {error}")) from None
    for line in dict.fromkeys((*contents.notes, *(line for part in numbers.values() for line in part.notes))):
        note(f"{path.name}: {line}")
    return numbers


def _by_column(contents: Contents, source: Source) -> Contents:
    """A file of one matrix as its columns, where the user said by number which of them are the labels."""
    leaf, key = contents.leaves.get(""), source.labels_key or ""
    if leaf is None or source.labels_path is not None or not leaf.is_matrix:
        return contents
    if not (key.isdecimal() and len(key) < _MOST_DIGITS and int(key) < leaf.shape[1]):
        return contents
    columns = leaf.load().T
    leaves = {str(number): Leaf.of(column) for number, column in enumerate(columns)}
    return Contents(leaves, is_table=True, header=False, notes=contents.notes, format=contents.format)


def _labels_of(labels: dict[str, LabelFile] | None, name: str, split: str, where: str) -> LabelFile | None:
    if labels is None:
        return None
    name = split if name == ALL and ALL not in labels else name
    if name in labels:
        return labels[name]
    if ALL in labels:
        raise InputError(f"{where} contains two splits, and {labels[ALL].name} the labels of one")
    raise InputError(f"{labels[TEST].name} has the labels of two splits, and {where} the predictions of one")


def _read_part(part: Part, labels: LabelFile | None, source: Source, has_header: bool) -> Numbers:
    choice = choose(part, source, None if labels is None else labels.labels, has_header)
    if labels is None:
        return convert(choice, cast("Field", choice.labels).load(), source)
    rows = choice.scores.leaf.shape[0] if choice.scores.leaf.shape else 0
    values, notes = matched(labels, part.fields, rows, source.id_key)
    numbers = convert(choice, values, source)
    return replace(numbers, notes=(*numbers.notes, *notes))


def read_pair_numbers(
    path: Path,
    test_path: Path | None,
    source: Source,
    split: float | None,
    seed: int | None,
    note: Note,
    split_if_one: bool = False,
) -> tuple[Numbers, Numbers]:
    """The numbers of a calibration and a test split; see `calbench.benchmark.predictions.files.read_pair`.

    Raises:
        InputError: as for `read_numbers`; no way to make two splits, or more than one.
    """
    if test_path is not None:
        return _two_files(path, test_path, source, split, note)
    if source.test_labels_path is not None:
        raise InputError("--test-labels belongs to a second file of predictions, and one was given")
    splits = read_numbers(path, source, note)
    if len(splits) == 2:
        if split is not None and not split_if_one:
            raise InputError(f"nothing to split: {path.name} contains two splits")
        return _same_classes(splits[CALIBRATION], splits[TEST], f"{path.name}, calibration", "test")
    if split is None:
        raise InputError(
            f"{path.name} contains one split: give a second file, or the share to calibrate on (--split 0.5)"
        )
    return _divided(next(iter(splits.values())), split, seed, path.name)


def _two_files(path: Path, test_path: Path, source: Source, split: float | None, note: Note) -> tuple[Numbers, Numbers]:
    if split is not None:
        raise InputError("nothing to split: the test split has a file of its own")
    if path.is_file() and test_path.is_file() and os.path.samefile(path, test_path):
        raise InputError(
            f"{path.name}: a calibrator is not evaluated on the rows that it was fitted on; use --split to divide them"
        )
    both = None if source.labels_path is None else read_labels(source.labels_path, source)
    if both is not None and ALL in both and source.test_labels_path is None:
        raise InputError(
            f"{source.labels_path.name if source.labels_path else ''} has the labels of one split, and there are two "
            "files: give those of the second too (--test-labels FILE)"
        )
    numbers = []
    for name, labels_path, file in (
        (CALIBRATION, source.labels_path, path),
        (TEST, source.test_labels_path or source.labels_path, test_path),
    ):
        splits = read_numbers(file, replace(source, labels_path=labels_path), note, name)
        if len(splits) > 1:
            raise InputError(f"{file.name} contains two splits already: give it as the only file")
        numbers.append(next(iter(splits.values())))
    return _same_classes(numbers[0], numbers[1], path.name, test_path.name)


def _same_classes(calibration: Numbers, test: Numbers, first: str, second: str) -> tuple[Numbers, Numbers]:
    counts = calibration.scores.shape[1], test.scores.shape[1]
    if counts[0] != counts[1]:
        raise InputError(f"{first} has {counted(counts[0], 'class', 'classes')}, {second} {counts[1]}")
    return calibration, test


def _divided(numbers: Numbers, share: float, seed: int | None, where: str) -> tuple[Numbers, Numbers]:
    count = round(share * len(numbers.labels))
    if not 0 < count < len(numbers.labels):
        raise InputError(
            f"{where}: a split of {share:g} leaves one side of its {counted(len(numbers.labels), 'row')} empty"
        )
    order = np.arange(len(numbers.labels)) if seed is None else stratified_order(numbers.labels, seed)
    first, second = (
        replace(
            numbers,
            scores=numbers.scores[rows],
            labels=numbers.labels[rows],
            features=None if numbers.features is None else numbers.features[rows],
        )
        for rows in (order[:count], order[count:])
    )
    return first, second


def stratified_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A random order of rows in which every beginning has each class in its share, to within one row.

    Systematic sampling: the n rows of a class, in random order, are placed at (u + 0, 1, ..., n - 1) / n with one
    random u per class, so that every row is equally likely to be in the first part (Madow 1949).

    Args:
        labels: class numbers (N,).
        seed: of the order.

    Returns:
        Row numbers (N,).
    """
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    classes, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    ranks = np.arange(len(labels)) - np.repeat(starts, counts)
    places = (ranks + np.repeat(generator.random(len(classes)), counts)) / np.repeat(counts, counts)
    return by_class[np.argsort(places, kind="stable")]
