r"""Tables as LaTeX: booktabs rules, siunitx columns, names escaped, the provenance in a comment.

A document that inputs them needs ``\usepackage{amssymb,booktabs,longtable,multirow,siunitx}``.
"""

import math
import re
import textwrap
import unicodedata
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from calbench.benchmark.report.tables.table import Cell, Column, Row, Table

if TYPE_CHECKING:
    from calbench.benchmark.report.report import Report

PACKAGES = ("amssymb", "booktabs", "longtable", "multirow", "siunitx")
LONG = 40
"""Rows above which a table may break over pages."""
TOGETHER = 40
"""Most rows of a group that a page break may not divide."""
MOST, INTERVAL = 9, 1
"""Columns of numbers that fit a page, less so many for each interval; only those with a priority are left out."""
WIDE = 9
"""Columns of numbers from which the gaps are smaller."""

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"$\sim$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "`": r"\textasciigrave{}",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "Δ": r"$\Delta$",
    "≈": r"$\approx$",
    "▼": r"$\blacktriangledown$",
    "▲": r"$\blacktriangle$",
    "−": r"$-$",
    "–": "--",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "†": r"$\dagger$",
    "±": r"$\pm$",
}

_ACCENTS = "\u0300\u0301\u0302\u0303\u0308\u030a\u030c\u0327"
"""The combining accents that LaTeX's standard fonts can put on a letter."""


def escape(text: str) -> str:
    """Make `text` literal in LaTeX; a letter that pdflatex's fonts may lack becomes a question mark."""
    text = " ".join(text.split())
    return "".join(_ESCAPES.get(char) or (char if _printable(char) else "?") for char in text)


def _printable(char: str) -> bool:
    if char.isascii() or char in "ßæøœłÆØŒŁ":
        return char.isprintable()
    parts = unicodedata.normalize("NFD", char)
    return len(parts) == 2 and parts[0].isascii() and parts[1] in _ACCENTS


def comment(report: "Report") -> str:
    """The provenance of a table as LaTeX comment lines: protocol, versions, commit, command."""
    run = report.run
    versions = ", ".join(f"{name} {version}" for name, version in run.versions.items())
    lines = [
        *run.provenance,
        *([report.results.edit_note] if report.results.edit_note else []),
        f"suite: {run.suite}; results {report.digest}; command: {run.command}",
        f"versions: {versions}",
        *report.protocol,
    ]
    return "".join(f"% {' '.join(line.split())}\n" for line in lines)


def _narrowed(table: Table) -> Table:
    """The table as wide as a page: columns of the highest priority number go, and the caption names them."""
    room = MOST - INTERVAL * sum(column.interval for column in table.columns)
    kept = list(range(len(table.columns)))
    for index in sorted(kept, key=lambda i: (-table.columns[i].priority, -i)):
        if len(kept) <= room or table.columns[index].priority == 0:
            break
        kept.remove(index)
    if len(kept) == len(table.columns):
        return table
    gone = [column.title() for index, column in enumerate(table.columns) if index not in kept]
    rows = tuple(replace(row, cells=tuple(row.cells[i] for i in kept)) for row in table.rows)
    caption = f"{table.caption} Not shown: {'; '.join(gone)}.".strip()
    return replace(table, columns=tuple(table.columns[i] for i in kept), rows=rows, caption=caption)


def latex(table: Table, label: str | None = None) -> str:
    """The table as a float with caption and label, or as a longtable where it is longer than a page.

    If there are more columns than fit, the less important ones are left out, and the caption names them.
    """
    table = _narrowed(table)
    label = re.sub(r"[^A-Za-z0-9:-]+", "-", label or f"tab:{table.key}")
    caption = rf"\caption{{{_caption(table)}}}\label{{{label}}}"
    spec = "".join(["l" * len(table.row_heads), *(_spec(table, i) for i in range(len(table.columns)))])
    head, body = _head(table), _body(table)
    gap = 3 if len(table.columns) < WIDE else 1
    if len(table.rows) > LONG:
        lines = [
            rf"\begingroup\scriptsize\setlength{{\tabcolsep}}{{{gap}pt}}",
            rf"\begin{{longtable}}{{@{{}}{spec}@{{}}}}",
        ]
        lines += [caption + r"\\", *head, r"\endfirsthead", *head, r"\endhead", *body, r"\end{longtable}", r"\endgroup"]
        return "\n".join(lines) + "\n"
    lines = [r"\begin{table}[!htbp]", rf"\centering\scriptsize\setlength{{\tabcolsep}}{{{gap}pt}}", caption]
    lines += [
        r"\par\smallskip",
        rf"\begin{{tabular}}{{@{{}}{spec}@{{}}}}",
        *head,
        *body,
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _caption(table: Table) -> str:
    sentences = [table.title, table.caption, *table.legend()]
    sentences += [f"({letter}) {note}" for note, letter in table.footnotes.items()]
    return " ".join(escape(text.rstrip(".") + ".") for text in sentences if text)


def _spec(table: Table, index: int) -> str:
    column = table.columns[index]
    marks = "@{\\,}l" if _has_marks(table, index) else ""
    if not table.numeric(index):
        return r"@{\hskip 6pt}r" + marks  # texts such as "1 of 4" would run into each other
    values = [row.cells[index].value for row in table.rows]
    whole = max((len(str(int(abs(v)))) for v in values if v is not None and math.isfinite(v)), default=1)
    negative = any(v is not None and v < 0 for v in values)
    sign, option = ("+", ",retain-explicit-plus") if column.signed else ("-" if negative else "", "")
    return rf"S[table-format={sign}{whole}.{column.decimals}{option}]" + marks


def _has_marks(table: Table, index: int) -> bool:
    """Whether a column needs a second, narrow one for intervals, marks and footnote letters."""
    column = table.columns[index]
    return any(c.signs or c.notes or (column.interval and c.has_interval) for c in (r.cells[index] for r in table.rows))


def _head(table: Table) -> list[str]:
    depth = max((len(column.heads) for column in table.columns), default=1)
    width = len(table.row_heads)
    lines = [r"\toprule"]
    for level in range(depth):
        last = level == depth - 1
        cells = [escape(head) if last else "" for head in table.row_heads]
        rules, position = [], width + 1
        for _, group in groupby(range(len(table.columns)), key=lambda i: _upper(table, i, level)):
            members = list(group)
            span = sum(1 + _has_marks(table, i) for i in members)
            column = table.columns[members[0]]
            text = column.heads[level] if level < len(column.heads) else ""
            drawn = _stacked(text, column) if last else escape(text)
            cells.append(rf"\multicolumn{{{span}}}{{c}}{{{drawn}}}")
            if not last and text:
                rules.append(rf"\cmidrule(lr){{{position}-{position + span - 1}}}")
            position += span
        lines.append(" & ".join(cells) + r" \\" + "".join(rules))
    return [*lines, r"\midrule"]


def _upper(table: Table, index: int, level: int) -> object:
    """What neighbours must share for one head over both: the levels down to this one; the last is never shared."""
    heads = table.columns[index].heads
    return index if level == max(len(c.heads) for c in table.columns) - 1 else heads[: level + 1]


def _stacked(text: str, column: Column) -> str:
    """A head on several lines, so that columns stay narrow; unit and direction on the last."""
    lines = textwrap.wrap(text, 11, break_long_words=False, break_on_hyphens=False)
    measure = " ".join(part for part in (column.unit and f"({column.unit})", column.arrow) if part)
    if measure and lines and len(lines[-1]) + len(measure) <= 8:
        lines[-1] += f" {measure}"
    elif measure:
        lines.append(measure)
    drawn = r"\\".join(map(escape, lines))
    return rf"\shortstack{{{drawn}}}" if len(lines) > 1 else drawn


def _body(table: Table) -> list[str]:
    """The rows; in a table that goes on over pages a page begins with a new group, and each has its heads."""
    lines: list[str] = []
    spans, breaks = _row_spans(table), len(table.rows) > LONG
    for index, row in enumerate(table.rows):
        first = index == 0
        if row.kind == "reference" and not first:
            lines.append(r"\midrule")
        elif not first and len(row.labels) > 1 and spans[index][-2]:
            lines.append(r"\addlinespace")
        heads = _repeated_heads(row, spans[index]) if breaks else _row_heads(row, spans[index])
        together = breaks and _group_size(spans, index) <= TOGETHER and _goes_on(spans, index)
        lines.append(" & ".join([*heads, *_row_cells(table, row)]) + (r" \\*" if together else r" \\"))
    return [*lines, r"\bottomrule"]


def _row_spans(table: Table) -> list[list[int]]:
    """For every row and head level, how many rows share it, at the first of them; 0 at the others."""
    depth = len(table.row_heads)
    spans = [[1] * depth for _ in table.rows]
    for level in range(depth - 1):
        start = 0
        for index in range(1, len(table.rows) + 1):
            if index < len(table.rows) and _same_head(table, start, index, level):
                spans[start][level] += 1
                spans[index][level] = 0
            else:
                start = index
    return spans


def _same_head(table: Table, a: int, b: int, level: int) -> bool:
    return table.rows[a].labels[: level + 1] == table.rows[b].labels[: level + 1]


def _goes_on(spans: list[list[int]], index: int) -> bool:
    """Whether the next row has all heads of this one but the last."""
    return index + 1 < len(spans) and len(spans[index]) > 1 and spans[index + 1][-2] == 0


def _group_size(spans: list[list[int]], index: int) -> int:
    """The number of rows that have all heads of this one but the last."""
    if len(spans[index]) < 2:
        return 1
    return next(spans[i][-2] for i in range(index, -1, -1) if spans[i][-2])


def _repeated_heads(row: Row, spans: list[int]) -> list[str]:
    """All heads at the first row of a group, wherever the page breaks: a centred one could land on the next page."""
    begins = len(spans) < 2 or spans[-2] > 0
    heads = [label if begins else "" for label in row.labels[:-1]] + [row.labels[-1]]
    return [rf"\emph{{{escape(head)}}}" if row.kind == "reference" and head else escape(head) for head in heads]


def _row_heads(row: Row, spans: list[int]) -> list[str]:
    heads = []
    for label, span in zip(row.labels, spans, strict=True):
        text = escape(label)
        if row.kind == "reference":
            text = rf"\emph{{{text}}}"
        heads.append(rf"\multirow{{{span}}}{{*}}{{{text}}}" if span > 1 else text if span else "")
    return heads


def _row_cells(table: Table, row: Row) -> list[str]:
    texts = []
    for index, (column, cell) in enumerate(zip(table.columns, row.cells, strict=True)):
        texts.append(_value(column, cell, table.numeric(index)))
        if _has_marks(table, index):
            texts.append(_aside(table, column, cell))
    return texts


def _value(column: Column, cell: Cell, numeric: bool) -> str:
    if cell.text is None and cell.value is not None and numeric:
        value = f"{round(cell.value, column.decimals) + 0.0:.{column.decimals}f}"
        plus = "+" if column.signed and cell.value > 0 and float(value) else ""
        return (r"\bfseries " if cell.bold else "") + plus + value
    text = "--" if cell.text is None else escape(cell.text)
    return f"{{{text}}}" if text else "{}"


def _aside(table: Table, column: Column, cell: Cell) -> str:
    """Interval in small type, then marks and footnote letters."""
    parts = []
    if column.interval and cell.has_interval:
        low, high = (escape(column.number(end)) for end in (cell.low, cell.high))
        parts.append(rf"{{\tiny[{low}, {high}]}}")
    parts += [rf"{{\tiny {escape(sign)}}}" for sign in cell.signs]
    if letters := table.letters(cell):
        parts.append(rf"\textsuperscript{{{','.join(letters)}}}")
    return r"\,".join(parts)
