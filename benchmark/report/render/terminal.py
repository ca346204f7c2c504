"""Tables for the terminal, by rich: narrow heads, short labels, the first interval alone."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from calbench.benchmark.report.tables.leaderboard import leaderboard, protocol_lines
from calbench.benchmark.report.tables.table import MARKS, Cell, Column, Table
from calbench.benchmark.results.results import Results

LONG = 250
"""Rows above which the terminal shows the part over all cells alone."""
NOTES = 12
"""Notes of the run that the terminal shows; run.json and leaderboard.md have all."""
NAME_WIDTH = 14
"""Columns kept for an entry's name before numbers are folded."""


def render_terminal(results: Results, metric: str = "ece") -> RenderableType:
    """The protocol and the leaderboard, the part over all cells and the run's notes last, where the prompt is.

    A long leaderboard is shown by that last part alone.
    """
    protocol = [Text(line, style="dim") for line in protocol_lines(results)]
    shown = leaderboard(results, metric)
    if sum(len(block.table.rows) for block in shown) > LONG:
        protocol.append(Text("Too long for the terminal: leaderboard.md and index.html hold all parts."))
        shown = [block for block in shown if block.dataset is None]
    blocks = [terminal_table(block.table) for block in shown]
    title = Text(str(results.run.get("title") or results.run.get("suite", "")), style="bold")
    return Group(title, *protocol, *blocks, *_run_notes(results.run.get("notes") or []))


def _run_notes(notes: list[str]) -> list[Text]:
    more = [f"and {len(notes) - NOTES} more notes in run.json"] if len(notes) > NOTES else []
    return [Text(note, style="dim") for note in [*map(str, notes[:NOTES]), *more]]


def terminal_table(table: Table) -> RenderableType:
    """One table with its legend and footnotes; every text is literal, never markup."""
    drawn = RichTable(box=box.SIMPLE_HEAD, title=Text(f"\n{table.title}"), title_justify="left", title_style="bold")
    drawn.padding, drawn.pad_edge = (0, 0), False
    for level, head in enumerate(table.row_heads):
        longest = max((len(row.labels[level]) for row in table.rows), default=0)
        drawn.add_column(Text(head), overflow="fold", min_width=min(longest, NAME_WIDTH))
    for column in table.columns:
        drawn.add_column(_head(column), justify="right", overflow="fold")
    with_interval = next((column for column in table.columns if column.interval), None)
    for row in table.rows:
        style = {"baseline": "cyan", "reference": "dim"}.get(row.kind)
        pairs = zip(table.columns, row.cells, strict=True)
        cells = [_cell(table, column, cell, column is with_interval) for column, cell in pairs]
        drawn.add_row(*map(Text, row.labels), *cells, style=style)
    notes = _groups(table) + table.legend() + [f"{letter}: {note}" for note, letter in table.footnotes.items()]
    return Group(drawn, *(Text(note, style="dim") for note in notes))


def _head(column: Column) -> Text:
    measure = "\u00a0".join(part for part in (column.unit, column.arrow) if part)
    return Text("\n".join(word for part in (column.heads[-1], measure) for word in part.split(" ") if word))


def _groups(table: Table) -> list[str]:
    """What columns under one upper head have in common, since the terminal shows the lowest heads alone."""
    groups: dict[str, list[str]] = {}
    for column in table.columns:
        if upper := " / ".join(part for part in column.heads[:-1] if part):
            groups.setdefault(upper, []).append(column.heads[-1])
    return [f"{upper}: {', '.join(dict.fromkeys(heads))}" for upper, heads in groups.items()]


def _cell(table: Table, column: Column, cell: Cell, interval: bool) -> Text:
    text = Text(column.number(cell.value) if cell.text is None else cell.text, style="bold" if cell.bold else "")
    if interval and cell.has_interval:
        text.append(f" [{column.number(cell.low)},{column.number(cell.high)}]", style="not bold dim")
    for mark in cell.marks:
        text.append(f" {MARKS[mark][0]}", style="not bold")
    for letter in table.letters(cell):
        text.append(f" ({letter})", style="not bold dim")
    return text
