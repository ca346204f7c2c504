"""Tables as GitHub-flavoured Markdown."""

import re

from tabulate import tabulate

from calbench.benchmark.report.tables.table import Cell, Column, Table

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$&])")


def escape(text: str) -> str:
    """Make `text` literal inside a Markdown table cell or paragraph."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def markdown(table: Table) -> str:
    """The table under its title, with its legend and footnotes."""
    heads = [escape(head) for head in table.row_heads] + [escape(column.title()) for column in table.columns]
    rows = []
    for row in table.rows:
        names = [escape(name) for name in row.names]
        if row.kind == "reference":
            names = [f"*{name}*" for name in names]
        pairs = zip(table.columns, row.cells, strict=True)
        rows.append(names + [cell_text(table, column, cell) for column, cell in pairs])
    align = ["left"] * len(table.row_heads) + ["right"] * len(table.columns)
    body = tabulate(rows, heads, tablefmt="pipe", disable_numparse=True, colalign=align) if rows else "no entries"
    parts = [f"## {escape(table.title)}", escape(table.caption), body, _notes(table)]
    return "\n\n".join(part for part in parts if part) + "\n"


def cell_text(table: Table, column: Column, cell: Cell) -> str:
    """One cell: value, interval, marks and footnote letters."""
    text = column.number(cell.value) if cell.text is None else escape(cell.text)
    if cell.bold:
        text = f"**{text}**"
    if column.interval and cell.has_interval:
        text += f" \\[{column.number(cell.low)}, {column.number(cell.high)}\\]"
    marks = [escape(sign) for sign in cell.signs]
    letters = [f"<sup>{letter}</sup>" for letter in table.letters(cell)]
    return " ".join([text, *marks]).strip() + "".join(letters)


def _notes(table: Table) -> str:
    legend = [escape(line) for line in table.legend()]
    notes = [f"<sup>{letter}</sup> {escape(note)}" for note, letter in table.footnotes.items()]
    return "  \n".join(legend + notes)
