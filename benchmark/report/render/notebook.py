"""One table as plain HTML for notebooks; every text is escaped."""

from markupsafe import escape

from calbench.benchmark.report.tables.table import Cell, Column, Table


def html_table(table: Table) -> str:
    """The table with its title, caption, legend and footnotes, without scripts and styles.

    Example:
        >>> html_table(Table("t", "A <b>", ("entry",), (), ()))[:27]
        '<table><caption>A &lt;b&gt;'
    """
    heads = [f"<th>{escape(head)}</th>" for head in table.row_heads]
    heads += [f'<th title="{escape(column.help)}">{escape(column.title())}</th>' for column in table.columns]
    rows = []
    for row in table.rows:
        cells = [f"<td>{escape(label)}</td>" for label in row.labels]
        cells += [
            f"<td>{_cell(table, column, cell)}</td>" for column, cell in zip(table.columns, row.cells, strict=True)
        ]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    notes = [table.caption, *table.legend(), *(f"{letter}: {note}" for note, letter in table.footnotes.items())]
    below = "<br>".join(str(escape(note)) for note in notes if note)
    body = f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f"<table><caption>{escape(table.title)}</caption>{body}</table><p>{below}</p>"


def _cell(table: Table, column: Column, cell: Cell) -> str:
    text = str(escape(column.number(cell.value) if cell.text is None else cell.text))
    text = f"<b>{text}</b>" if cell.bold else text
    if column.interval and cell.has_interval:
        text += f" <small>[{escape(column.number(cell.low))}, {escape(column.number(cell.high))}]</small>"
    after = [*cell.signs, *(f"({letter})" for letter in table.letters(cell))]
    return " ".join([text, *(str(escape(sign)) for sign in after)])
