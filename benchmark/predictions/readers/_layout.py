"""Detects the layout of a text file of columns: separator, decimal sign, header and names."""

import csv
import re
from dataclasses import dataclass, field

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.predictions.names import is_known

_SAMPLE_LINES, _SAMPLE_CHARACTERS = 60, 4_000_000
_SEPARATORS = ("\t", ";", "|", ",")
_BLANKS = r"\s+"
_BLANK_CELLS = re.compile(r'"[^"]*"|\S+')
_MISSING = {"", "na", "nan", "n/a", "null", "none", "-nan", "inf", "-inf", "infinity", "-infinity"}
_COMMA_NUMBER = re.compile(r"[-+]?\d+,\d+(?:[eE][-+]?\d+)?")

Rows = list[list[str]]


@dataclass(frozen=True)
class Layout:
    """The layout of a text file.

    Attributes:
        separator: between columns, or None for a single column.
        decimal: the decimal sign.
        has_header: whether the first line names the columns.
        names: of the columns, in the order of the file; their numbers if the file has no header.
        first_row: the number of lines above the first row of numbers.
        comments: whether there are lines that start with ``#``.
        dropped: numbers of columns that are row numbers or blank.
        notes: what a user should know.
    """

    separator: str | None
    decimal: str
    has_header: bool
    names: list[str]
    first_row: int
    comments: bool
    dropped: frozenset[int] = frozenset()
    notes: list[str] = field(default_factory=list)


def find_layout(text: str) -> Layout:
    """The layout of `text`, by its first lines.

    Raises:
        InputError: no lines, or no rows below the header.
    """
    lines = text[:_SAMPLE_CHARACTERS].splitlines()[: 4 * _SAMPLE_LINES]
    numbered = [(number, line) for number, line in enumerate(lines) if line.strip()][:_SAMPLE_LINES]
    if not numbered:
        raise InputError("the file is empty")
    comments = [line for _, line in numbered if line.startswith("#")]
    plain = [(number, line) for number, line in numbered if not line.startswith("#")]
    if not plain:
        raise InputError("no rows below the header")
    separator = _separator([line for _, line in plain])
    rows = [_cells(line, separator) for _, line in plain]
    decimal = "," if separator not in (None, ",") and _has_decimal_commas(rows) else "."
    if decimal == ",":
        rows = [[cell.replace(",", ".") if _COMMA_NUMBER.fullmatch(cell) else cell for cell in row] for row in rows]
    width = max(len(row) for row in rows)
    if _is_header(rows):
        if len(rows) == 1:
            raise InputError("no rows below the header")
        head, above = rows[0], plain[0][0] + 1
        if len(rows) > 2 and len(set(head)) < len(head) and _continues(head, rows[1], rows[2:]):
            head, above = _joined(head, rows[1]), plain[1][0] + 1
            rows = [head, *rows[2:]]
        names, shift = _names(head, rows[1:], width)
        dropped = _blank(rows[1:], width) | ({0} if shift or not head[0] else set())
        return Layout(separator, decimal, True, names, above, bool(comments), frozenset(dropped))
    header = _cells(comments[-1].lstrip("# "), separator) if comments else []  # as NumPy's savetxt writes it
    if len(header) == width and not all(map(_is_number, header)):
        return Layout(separator, decimal, True, [cell.strip() for cell in header], plain[0][0], True)
    names = [str(number) for number in range(width)]
    return Layout(separator, decimal, False, names, plain[0][0], bool(comments), frozenset(_blank(rows, width)))


def _separator(lines: list[str]) -> str | None:
    for separator in _SEPARATORS:
        counts = [len(_cells(line, separator)) for line in lines]
        if min(counts) > 1 and (len(set(counts)) == 1 or set(counts[1:]) <= {counts[0], counts[0] + 1}):
            return separator
    for separator in (",", "\t", ";"):  # rows of different lengths: the parser names the line
        if all(separator in line for line in lines):
            return separator
    below = [_cells(line, _BLANKS) for line in lines[1:] or lines]
    width = len(below[0])
    numeric = sum(all(_is_number(row[i]) for row in below) for i in range(width)) if _same_width(below) else 0
    named = len(_cells(lines[0], _BLANKS)) in (width, width - 1)
    return _BLANKS if numeric == width > 1 or (named and numeric > 1) else None


def _same_width(rows: Rows) -> bool:
    return len({len(row) for row in rows}) == 1


def _cells(line: str, separator: str | None) -> list[str]:
    if separator is None:
        return [line.strip().strip('"')]
    if separator == _BLANKS:
        return [cell.strip('"') for cell in _BLANK_CELLS.findall(line)]
    if separator not in line:
        return [line.strip().strip('"')]
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]


def _has_decimal_commas(rows: Rows) -> bool:
    cells = [cell for row in rows[1:] or rows for cell in row]
    return any(_COMMA_NUMBER.fullmatch(cell) for cell in cells) and not any(
        re.fullmatch(r"[-+]?\d+\.\d+", c) for c in cells
    )


def _is_number(cell: str) -> bool:
    if cell.lower() in _MISSING:
        return True
    try:
        float(cell)
    except ValueError:
        return cell in ("True", "False")
    return True


def _is_header(rows: Rows) -> bool:
    """Whether the first row names the columns: text above numbers, or the numbers of classes above scores."""
    first, below = rows[0], rows[1:]
    if not below:
        return not all(_is_number(cell) for cell in first)
    columns = [[row[i] for row in below if i < len(row)] for i in range(len(first))]
    numeric = [all(_is_number(cell) for cell in column) for column in columns]
    texts = [cell for cell in first if not _is_number(cell)]
    if any(is_numeric and not _is_number(cell) for cell, is_numeric in zip(first, numeric, strict=True)):
        return True
    if any(numeric):
        return _counts_classes([cell for cell, is_numeric in zip(first, numeric, strict=True) if is_numeric], below)
    return any(is_known(cell) for cell in texts) or not any(
        cell in column for cell, column in zip(first, columns, strict=True)
    )


def _continues(head: list[str], second: list[str], below: Rows) -> bool:
    """Whether the second line has the names of classes below names that are repeated, as pandas' levels of columns."""
    if len(second) != len(head) or any(len(row) != len(head) for row in below):
        return False
    places = [place for place, cell in enumerate(head) if head.count(cell) > 1 and is_known(cell)]
    names = [second[place] for place in places]
    fractions = all(_is_number(row[place]) and "." in row[place] for row in below for place in places)
    return len(set(names)) == len(names) > 1 and not any("." in name for name in names) and fractions


def _joined(head: list[str], second: list[str]) -> list[str]:
    """The names of columns in two lines as one."""
    return ["_".join(part for part in parts if part) for parts in zip(head, second, strict=True)]


def _counts_classes(cells: list[str], below: Rows) -> bool:
    """Whether cells are 0, 1, 2 ... or 1, 2 ..., as pandas names columns, above rows that are not such numbers."""
    counted = [cell for cell in cells if cell]
    if len(counted) < 2 or not all(cell.isdigit() and len(cell) < 8 for cell in counted):
        return False
    numbers = [int(cell) for cell in counted]
    if numbers not in (list(range(len(numbers))), list(range(1, len(numbers) + 1))):
        return False
    return any("." in cell or "e" in cell.lower() for row in below for cell in row)


def _names(header: list[str], below: Rows, width: int) -> tuple[list[str], bool]:
    """The names of `width` columns, and whether the first column is one of row names without a name, as R writes it."""
    extra = width - len(header)
    if extra == 1 and all(not row[-1] for row in below if len(row) == width):
        return [*header, "(blank)"], False
    if extra == 1 and all(len(row) == width for row in below):
        return ["(row)", *header], True
    if extra > 0:
        raise InputError(f"the header has {len(header)} fields, and a row {width}")
    return [cell or f"(column {number + 1})" for number, cell in enumerate(header)], False


def _blank(rows: Rows, width: int) -> set[int]:
    """Columns without any value in the sample at the end of the rows, as a separator at the end of lines makes them."""
    return {number for number in range(width) if all(number >= len(row) or not row[number] for row in rows)}
