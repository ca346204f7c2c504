"""The data model of tables: typed cells with intervals, marks and footnotes, independent of the output format."""

import math
import string
from dataclasses import dataclass, field, replace
from typing import Literal

import pandas as pd

from calbench.benchmark.config.table_layout import Mark

MARKS: dict[Mark, tuple[str, str]] = {
    "calibrated": ("≈0", "not distinguishable from perfect calibration (within the noise floor's 95th percentile)"),
    "same": (
        "~",
        "not significantly different from the baseline, by a p value adjusted for the number of entries; the interval "
        "is not adjusted, and may exclude 0",
    ),
    "baseline-in-noise": ("in noise", "no reduction: the baseline is within its own noise"),
    "accuracy-loss": ("▼", "accuracy significantly below the baseline's"),
    "nll-loss": ("▲", "NLL significantly above the baseline's"),
    "partial": ("†", "average over fewer cells than the others: not comparable with them, and not ranked"),
    "suspect": ("?", "a published value that looks wrong in its source"),
}
"""Each mark's sign and its meaning in the legend."""

DOES_NOT_APPLY = ("·", "does not apply to this row: the baseline against itself, or the oracle")
"""What is shown in such a cell, and its meaning in the legend."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table: a number with what is known of it, or a text, or the reason why there is none.

    Attributes:
        value: the number, in the column's unit; None for a text or a missing value.
        low: lower end of the 95 % interval, or None.
        high: upper end of the 95 % interval, or None.
        text: shown in place of a number; an empty one is replaced by the reason, or `DOES_NOT_APPLY` in a row that is
            not an entry's.
        marks: remarks on the number, keys of `MARKS`.
        bold: whether the entry may be the best, by a test at 5 %.
        notes: reasons that a footnote gives; a missing value has at least one.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    text: str | None = None
    marks: tuple[Mark, ...] = ()
    bold: bool = False
    notes: tuple[str, ...] = ()

    @property
    def missing(self) -> bool:
        """Whether there is neither a number nor a text."""
        return self.value is None and self.text is None

    @property
    def does_not_apply(self) -> bool:
        """Whether its row can have no such number."""
        return self.text == DOES_NOT_APPLY[0]

    @property
    def signs(self) -> list[str]:
        """The signs of its marks; one that is itself the text is not repeated."""
        return [MARKS[mark][0] for mark in self.marks if MARKS[mark][0] != self.text]

    @property
    def has_interval(self) -> bool:
        """Whether both ends of the interval are known."""
        return self.low is not None and self.high is not None


@dataclass(frozen=True)
class Column:
    """One column of numbers.

    Attributes:
        key: name in CSV files, unique in the table.
        heads: the head's levels from the top; neighbours with equal upper levels share them.
        unit: ``"%"``, ``"nats"``, ``"points"`` or ``""``.
        better: ``"higher"``, ``"lower"``, ``"zero"`` or None.
        decimals: digits after the point.
        signed: show a plus sign.
        interval: show the interval after the value.
        priority: columns of a lower one are kept longer in a narrow terminal or page; 0 always.
        help: one sentence that explains the column.
    """

    key: str
    heads: tuple[str, ...]
    unit: str = ""
    better: str | None = None
    decimals: int = 2
    signed: bool = False
    interval: bool = False
    priority: int = 0
    help: str = ""

    @property
    def arrow(self) -> str:
        """``↑``, ``↓``, ``→ 0`` or nothing: the direction in which the column is better."""
        return {"higher": "↑", "lower": "↓", "zero": "→ 0"}.get(self.better or "", "")

    def title(self, separator: str = ", ") -> str:
        """The head in one line, with unit and direction."""
        name = separator.join(part for part in self.heads if part)
        return " ".join(part for part in (name, self.unit and f"({self.unit})", self.arrow) if part)

    def number(self, value: float | None) -> str:
        """`value` with this column's digits; ``–`` if it is missing."""
        return number(value, self.decimals, self.signed)


@dataclass(frozen=True)
class Row:
    """One row: its heads, as written in a suite and as a short label, and its cells.

    ``kind`` is ``entry``, ``baseline`` or ``reference`` (shown apart, never ranked).
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    kind: Literal["entry", "baseline", "reference"] = "entry"


@dataclass(frozen=True)
class Table:
    """A titled table with typed cells, and the footnotes that its cells refer to.

    A row over several `cells` (pairs of dataset and backbone) is marked for a loss on any of them; the legend says so.
    ``remark`` is what a reader must know of all its numbers: the caption begins with it, and the column ``notes`` of
    its frame has it in every row, so that it is in a CSV file too, where a line of comment would break readers.
    """

    key: str
    title: str
    row_heads: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str = ""
    smoke: bool = False
    remark: str = ""
    cells: int = 1
    footnotes: dict[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "rows", tuple(_explained(row, self.columns, self._with_intervals()) for row in self.rows)
        )
        notes = dict.fromkeys(note for row in self.rows for cell in row.cells for note in cell.notes)
        if self.smoke and not self.title.startswith("SMOKE"):
            object.__setattr__(self, "title", f"SMOKE TEST: {self.title}")
        if self.remark and not self.caption.startswith(self.remark):
            object.__setattr__(self, "caption", f"{self.remark}. {self.caption}".strip())
        object.__setattr__(self, "footnotes", {note: letter(i) for i, note in enumerate(notes)})

    def _with_intervals(self) -> set[int]:
        """The columns of intervals in which at least one cell has one."""
        return {i for i, column in enumerate(self.columns) if column.interval and any(
            row.cells[i].has_interval for row in self.rows
        )}  # fmt: skip

    def legend(self) -> list[str]:
        """One line for each mark that occurs in the table."""
        used = {mark for row in self.rows for cell in row.cells for mark in cell.marks}
        lines = [f"{sign}: {meaning}{self._where(mark)}" for mark, (sign, meaning) in MARKS.items() if mark in used]
        blank = any(cell.does_not_apply for row in self.rows for cell in row.cells)
        return [*lines, ": ".join(DOES_NOT_APPLY)] if blank else lines

    def _where(self, mark: Mark) -> str:
        return " on at least one cell" if self.cells > 1 and mark in ("accuracy-loss", "nll-loss") else ""

    def numeric(self, index: int) -> bool:
        """Whether a column holds numbers (and at most some words among them), not only words."""
        return any(row.cells[index].value is not None for row in self.rows)

    def letters(self, cell: Cell) -> list[str]:
        """The footnote letters of a cell of this table."""
        return [self.footnotes[note] for note in cell.notes]

    def frame(self) -> pd.DataFrame:
        """The table as numbers: a row each, with ``_low``, ``_high`` and ``_marks`` columns where they are used."""
        records = []
        numeric = [self.numeric(index) for index in range(len(self.columns))]
        for row in self.rows:
            record: dict[str, object] = {**dict(zip(self.row_heads, row.names, strict=True)), "kind": row.kind}
            for column, cell, is_number in zip(self.columns, row.cells, numeric, strict=True):
                record[column.key] = cell.value if is_number else cell.text
                if column.interval:
                    record[f"{column.key}_low"], record[f"{column.key}_high"] = cell.low, cell.high
            record["marks"] = " ".join(dict.fromkeys(mark for cell in row.cells for mark in cell.marks))
            notes = dict.fromkeys([self.remark] if self.remark else [])
            notes |= dict.fromkeys(note for cell in row.cells for note in cell.notes)
            words = zip(self.columns, row.cells, numeric, strict=True)
            notes |= {
                f"{column.key}: {cell.text}": None
                for column, cell, is_number in words
                if is_number and cell.text and cell.value is None and not (cell.marks or cell.does_not_apply)
            }
            if any(cell.does_not_apply for cell in row.cells):
                notes[": ".join(DOES_NOT_APPLY)] = None
            record["notes"] = "; ".join(notes)
            records.append(record)
        return pd.DataFrame(records)


NOT_THERE = "not in the results"
"""Why a cell is empty, where nothing more is known."""
NO_INTERVAL = "no interval in the results"
"""Why an interval is missing, where others of the column have one and nothing more is known."""


def _explained(row: Row, columns: tuple[Column, ...], with_intervals: set[int]) -> Row:
    """The row with a reason in every cell that has no number or lacks its interval, so that nothing vanishes unsaid."""
    cells = []
    for index, cell in enumerate(row.cells[: len(columns)]):
        lacking = index in with_intervals and cell.value is not None and not cell.has_interval
        if cell.text == "":
            blank = row.kind != "entry" and not cell.notes
            cell = replace(cell, text=DOES_NOT_APPLY[0] if blank else None)
        if cell.missing and not cell.notes:
            cell = replace(cell, notes=(NOT_THERE,))
        elif lacking and not cell.notes and row.kind != "reference":
            cell = replace(cell, notes=(NO_INTERVAL,))
        cells.append(cell)
    return replace(row, cells=tuple(cells))


def number(value: float | None, decimals: int, signed: bool = False) -> str:
    """A number with a true minus sign and no negative zero; ``–`` if it is missing."""
    if value is None or not math.isfinite(value):
        return "–"
    rounded = round(value, decimals) + 0.0
    text = f"{rounded:+.{decimals}f}" if signed and rounded else f"{rounded:.{decimals}f}"
    return text.replace("-", "−")


def letter(index: int) -> str:
    """``a`` .. ``z``, then ``aa`` ..: the mark of the footnote with this index."""
    head, tail = divmod(index, len(string.ascii_lowercase))
    return (letter(head - 1) if head else "") + string.ascii_lowercase[tail]
