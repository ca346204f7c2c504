"""The output of ``calbench inspect``: the arrays of a file, and how calbench would read them."""

from pathlib import Path

import numpy as np
from rich.table import Table

from calbench.benchmark.core.console import Console
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.text import counted
from calbench.benchmark.predictions.columns import Field, fields_of
from calbench.benchmark.predictions.convert import Numbers
from calbench.benchmark.predictions.readers import open_contents
from calbench.benchmark.predictions.reading import read_numbers
from calbench.benchmark.predictions.source import Source

_ROWS, _VALUES, _ARRAYS = 5, 6, 60


def show(console: Console, file: Path, source: Source) -> int:
    """Print the arrays of a file, how it would be read and its first rows; 0 if it can be read, 1 if not."""
    with open_contents(file) as contents:
        fields = fields_of(contents)
        table = Table(title=f"{file.name}: {contents.format}")
        for heading in ("name", "shape", "type", "first values"):
            table.add_column(heading, overflow="fold")
        for field in fields[:_ARRAYS]:
            shape = " x ".join(map(str, field.leaf.shape)) or "single value"
            table.add_row(field.name or "(one array)", shape, field.leaf.type_name, _first_values(field))
        console.print(table)
        if len(fields) > _ARRAYS:
            console.print(f"and {len(fields) - _ARRAYS} more")
    notes: list[str] = []
    try:
        splits = read_numbers(file, source, notes.append)
    except InputError as error:
        console.print(f"cannot be evaluated yet: {error}", markup=False, soft_wrap=True)
        return 1
    for split, numbers in splits.items():
        console.print(_reading(split, numbers))
    for line in notes:
        console.print(f"note: {line}", markup=False, soft_wrap=True)
    return 0


def _first_values(field: Field) -> str:
    try:
        values = field.load()
    except InputError as error:
        return str(error)
    flat = values.reshape(len(values), -1)[0] if values.ndim > 1 and len(values) else values.reshape(-1)
    shown = [f"{value:.5g}" if isinstance(value, float) else str(value)[:24] for value in flat[:_VALUES].tolist()]
    return ", ".join(shown) + (" ..." if len(flat) > _VALUES else "")


def _reading(split: str, numbers: Numbers) -> Table:
    """The first rows as they are read."""
    rows, classes = numbers.scores.shape
    name = "" if split == "all" else f"{split}: "
    accuracy = 100 * float((numbers.scores.argmax(axis=1) == numbers.labels).mean())
    table = Table(
        title=f"{name}{numbers.kind} of {counted(rows, 'sample')} and {counted(classes, 'class', 'classes')}, "
        f"accuracy {accuracy:.2f} %"
    )
    shown = min(classes, _VALUES)
    for heading in ("row", "label", *(f"class {k}" for k in range(shown))):
        table.add_column(heading, justify="right")
    if classes > shown:
        table.add_column("")
    for row in range(min(rows, _ROWS)):
        scores = [f"{value:.4g}" for value in np.asarray(numbers.scores[row, :shown], dtype=float)]
        table.add_row(str(row), str(numbers.labels[row]), *scores, *(["..."] if classes > shown else []))
    return table
