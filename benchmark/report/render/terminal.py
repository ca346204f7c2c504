"""Tables for the terminal: the columns that the width allows, and a line that names those left out."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.pairs import pair_tables
from calbench.benchmark.report.tables.table import Cell, Column, Table

LONG = 250
"""Rows above which the terminal shows only the parts over all cells."""
NOTES = 12
"""Notes of the run that the terminal shows; run.json and leaderboard.md have all."""
LONGEST_NAME = 36
"""Characters of an entry's name in one line; longer ones are wrapped between words."""
STAR = "*"
"""The sign of a bold cell in a file or pipe, which have no bold."""
GAP = 1
"""Characters between columns."""
WIDEST = 10_000
"""Characters of a line in which every table is whole."""
_BREAK = re.compile(r"(?<=[ (,=/-])")


def render_terminal(report: Report) -> RenderableType:
    """The protocol, the pairs of entries by NLL and the leaderboard, what is over all cells last, next to the prompt.

    Of a long leaderboard only the parts over all cells are shown.
    """
    run = report.run
    protocol = [Text(line, style="dim") for line in report.protocol]
    shown = report.blocks
    if sum(len(block.table.rows) for block in shown) > LONG:
        protocol.append(Text("Too long for the terminal: leaderboard.md and index.html have all tables."))
        shown = [block for block in shown if block.dataset is None] or shown
    pairs = [report.remarked(table) for table in pair_tables(report.views)[:1]]
    tables = [TerminalTable(table) for table in [*pairs, *(block.table for block in shown)]]
    return Group(Text(run.shown_title, style="bold"), *protocol, *tables, *_run_notes(run.notes))


def _run_notes(notes: Sequence[str]) -> list[Text]:
    more = [f"and {len(notes) - NOTES} more notes in run.json"] if len(notes) > NOTES else []
    return [Text(note, style="dim") for note in [*notes[:NOTES], *more]]


@dataclass(frozen=True)
class TerminalTable:
    """One table with its caption, legend and footnotes, as wide as the terminal; every text is literal, not markup."""

    table: Table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        """Choose the columns that fit, and draw them."""
        styled = console.color_system is not None
        table = _without_shared_names(self.table if styled else _starred(self.table))
        names = _name_widths(table, options.max_width)
        shown = _fitting(table, options.max_width - sum(width + GAP for width in names))
        taken = sum(width + GAP for width in names) + sum(_width(table, i, shown[i]) + GAP for i in shown)
        yield _drawn(table, _widened(table, names, options.max_width - taken), shown)
        left_out = [column.title() for index, column in enumerate(table.columns) if index not in shown]
        notes = [table.caption] if table.caption else []
        wider = f"a window of {_whole_width(table)} characters, or COLUMNS={_whole_width(table)} before the command"
        if left_out:
            notes.append(f"Columns left out at this width ({wider}, shows all): {'; '.join(left_out)}.")
        if bare := [table.columns[i].title() for i, whole in shown.items() if not whole and _has_intervals(table, i)]:
            how = "" if left_out else f" ({wider}, shows them)"
            notes.append(f"Without their intervals at this width{how}: {'; '.join(bare)}.")
        if any(isinstance(row.cells[index], StarredCell) for row in table.rows for index in shown):
            notes.append(f"{STAR}: bold, which this output cannot show")
        notes += _groups(table) + table.legend() + [f"{letter}: {note}" for note, letter in table.footnotes.items()]
        yield from (Text(note, style="dim") for note in notes)


class StarredCell(Cell):
    """A bold cell where the output has no bold: a sign replaces it."""

    @property
    def signs(self) -> list[str]:
        """The sign of bold, and those of its marks."""
        return [STAR, *super().signs]


def _starred(table: Table) -> Table:
    """The table with signs in place of bold."""
    rows = [replace(row, cells=tuple(StarredCell(**vars(c)) if c.bold else c for c in row.cells)) for row in table.rows]
    return replace(table, rows=tuple(rows))


def _without_shared_names(table: Table) -> Table:
    """The table without the heads of rows that are the same in all rows; the title has them."""
    levels = range(len(table.row_heads) - 1)
    shared = {i: table.rows[0].labels[i] for i in levels if len({row.labels[i] for row in table.rows}) == 1}
    if len(table.rows) < 2 or not shared:
        return table
    kept = [i for i in range(len(table.row_heads)) if i not in shared]
    rows = [replace(row, labels=tuple(row.labels[i] for i in kept)) for row in table.rows]
    said = ", ".join(f"{table.row_heads[i]}: {label}" for i, label in shared.items())
    return replace(
        table, title=f"{table.title} ({said})", row_heads=tuple(table.row_heads[i] for i in kept), rows=tuple(rows)
    )


def terminal_table(table: Table) -> RenderableType:
    """One table for `Console.print`."""
    return TerminalTable(table)


def _name_widths(table: Table, width: int) -> list[int]:
    """The width of each head of a row: whole labels where they fit, else lines of whole words."""
    widths = []
    for level, head in enumerate(table.row_heads):
        labels = [head, *(row.labels[level] for row in table.rows)]
        most = LONGEST_NAME if width >= 120 else max(14, width // 4)
        word = max((cell_len(word) for label in labels for word in label.split()), default=1)
        widths.append(min(max(cell_len(label) for label in labels), max(most, min(word, width // 3))))
    needed = sum(
        _width(table, i, interval=False) + GAP for i, column in enumerate(table.columns) if not column.priority
    )
    return _narrowed(table, widths, sum(width + GAP for width in widths) + needed - width)


def _narrowed(table: Table, widths: list[int], excess: int) -> list[int]:
    """The widths of the row heads without `excess` characters, the widest first, down to the parts of the names."""
    least = [
        max(cell_len(part) for label in (head, *(row.labels[level] for row in table.rows)) for part in _parts_of(label))
        for level, head in enumerate(table.row_heads)
    ]
    narrowed = list(widths)
    for _ in range(max(0, excess)):
        level = max(range(len(widths)), key=lambda one: (narrowed[one] > least[one], narrowed[one]))
        if narrowed[level] <= least[level]:
            break
        narrowed[level] -= 1
    return narrowed


def _parts_of(name: str) -> list[str]:
    """The parts between which a name may be broken: after blanks, hyphens, brackets, commas and equals signs."""
    return [part.strip() for part in _BREAK.split(name)] or [""]


def _broken(name: str, width: int) -> str:
    """A name in lines of at most `width` characters, broken between words, or between the parts of a longer word."""
    lines = [""]
    for part in _BREAK.split(name):
        longer = lines[-1] + part
        if cell_len(longer.rstrip()) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(part)
    return "\n".join(line.rstrip() for line in lines)


def _widened(table: Table, names: list[int], spare: int) -> list[int]:
    """The widths of the row heads when the room that the columns leave goes to labels that would be wrapped."""
    widened: list[int] = []
    for level, width in enumerate(names):
        whole = max(cell_len(label) for label in (table.row_heads[level], *(row.labels[level] for row in table.rows)))
        more = max(0, min(whole - width, spare))
        widened.append(width + more)
        spare -= more
    return widened


def _fitting(table: Table, room: int) -> dict[int, bool]:
    """The columns that fit into `room`, by index, and whether each shows its interval.

    Those of the highest priority number go first; then intervals are added from the left while there is room.
    """
    kept = list(range(len(table.columns)))
    plain = {index: _width(table, index, interval=False) for index in kept}
    for index in sorted(kept, key=lambda i: (-table.columns[i].priority, -i)):
        if sum(plain[i] + GAP for i in kept) <= room or len(kept) == 1:
            break
        if table.columns[index].priority > 0:
            kept.remove(index)
    while sum(plain[i] + GAP for i in kept) > room and len(kept) > 1:
        kept.pop()
    spare = room - sum(plain[i] + GAP for i in kept)
    shown = dict.fromkeys(kept, False)
    for index in kept:
        more = _width(table, index, interval=True) - plain[index]
        if 0 < more <= spare:
            shown[index], spare = True, spare - more
    return shown


def _whole_width(table: Table) -> int:
    """The characters of a line that has every column with its intervals."""
    names = sum(width + GAP for width in _name_widths(table, WIDEST))
    return names + sum(_width(table, index, interval=True) + GAP for index in range(len(table.columns)))


def _has_intervals(table: Table, index: int) -> bool:
    return table.columns[index].interval and any(row.cells[index].has_interval for row in table.rows)


def _width(table: Table, index: int, interval: bool) -> int:
    column = table.columns[index]
    texts = [*_head(column), *(_texts(table, column, index, interval))]
    return max(cell_len(text) for text in texts)


def _texts(table: Table, column: Column, index: int, interval: bool) -> list[str]:
    """The texts of a column: numbers end at one place, and the marks and letters after them have their own."""
    parts = [_parts(table, column, row.cells[index], interval) for row in table.rows]
    aside = max((cell_len(after) for _, after in parts), default=0)
    lines = [text + after + " " * (aside - cell_len(after)) for text, after in parts]
    width = max([*map(cell_len, lines), *map(cell_len, _head(column))], default=0)
    return [" " * (width - cell_len(line)) + line for line in lines]


def _parts(table: Table, column: Column, cell: Cell, interval: bool) -> tuple[str, str]:
    text = column.number(cell.value) if cell.text is None else cell.text
    if interval and column.interval and cell.has_interval:
        text += f" [{column.number(cell.low)},{column.number(cell.high)}]"
    marks = cell.signs + [f"({letter})" for letter in table.letters(cell)]
    return text, "".join(f" {mark}" for mark in marks)


def _drawn(table: Table, names: Sequence[int], shown: dict[int, bool]) -> RichTable:
    drawn = RichTable(box=box.SIMPLE_HEAD, title=Text(f"\n{table.title}"), title_justify="left", title_style="bold")
    drawn.padding, drawn.pad_edge, drawn.show_edge = (0, 0), False, False
    for head, width in zip(table.row_heads, names, strict=True):
        drawn.add_column(Text(head), overflow="ellipsis", width=width)
    for index in shown:
        width = _width(table, index, shown[index])
        heads = "\n".join(word.rjust(width) for word in _head(table.columns[index]))
        drawn.add_column(Text(heads), no_wrap=True, width=width)
    columns = {index: _texts(table, table.columns[index], index, interval) for index, interval in shown.items()}
    for place, row in enumerate(table.rows):
        style = {"baseline": "cyan", "reference": "dim"}.get(row.kind)
        cells = [Text(columns[i][place], style="bold" if row.cells[i].bold else "") for i in shown]
        labels = [
            Text(_broken(label, width) if any(cell_len(word) > width for word in label.split()) else label)
            for label, width in zip(row.labels, names, strict=True)
        ]
        drawn.add_row(*labels, *cells, style=style)
    return drawn


def _head(column: Column) -> list[str]:
    """The lowest head of a column, a word a line, then its unit and direction."""
    measure = " ".join(part for part in (column.unit, column.arrow) if part)
    return [*(word for word in column.heads[-1].split(" ") if word), *([measure] if measure else [])]


def _groups(table: Table) -> list[str]:
    """What columns under one upper head have in common, since the terminal shows only the lowest heads."""
    groups: dict[str, list[str]] = {}
    for column in table.columns:
        if upper := " / ".join(part for part in column.heads[:-1] if part):
            groups.setdefault(upper, []).append(column.heads[-1])
    return [f"{upper}: {', '.join(dict.fromkeys(heads))}" for upper, heads in groups.items()]
