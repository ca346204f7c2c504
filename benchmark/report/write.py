"""Writing the reports of a suite's results into its folder: tables, page, figures, a LaTeX document."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pandas as pd

from calbench.benchmark.core.errors import check_names
from calbench.benchmark.core.files import write_atomically
from calbench.benchmark.report.render.latex import PACKAGES, comment, latex
from calbench.benchmark.report.render.markdown import escape, markdown
from calbench.benchmark.report.tables.layout import layout_table, suite_layouts
from calbench.benchmark.report.tables.leaderboard import Block, leaderboard, protocol_lines
from calbench.benchmark.report.tables.reference import load_aligned
from calbench.benchmark.report.tables.table import Table
from calbench.benchmark.results.results import Results

Files = Iterator[tuple[str, str | bytes]]


def suite_tables(results: Results) -> list[Table]:
    """The tables that the suite's own layouts describe, with its reference's published numbers where it names one.

    Raises:
        InputError: a layout that these results cannot fill, or an unknown reference.
    """
    layouts = suite_layouts(results)
    name = (results.run.get("config") or {}).get("reference")
    reference = load_aligned(name, results) if layouts and name else None
    return [layout_table(results, layout, reference) for layout in layouts]


def leaderboard_markdown(results: Results, metric: str = "ece") -> str:
    """The leaderboard as Markdown: the protocol, the part over all cells, then one part a dataset and backbone."""
    run = results.run
    title = f"# {escape(str(run.get('title') or run.get('suite') or 'Leaderboard'))}"
    protocol = "\n".join(f"- {escape(line)}" for line in protocol_lines(results))
    made = f"calbench {run.get('calbench', '?')}, commit {run.get('commit') or 'unknown'}, {run.get('created', '')}."
    notes = "\n".join(f"- {escape(str(note))}" for note in run.get("notes") or [])
    parts = [title, escape(str(run.get("description") or "")), protocol, escape(made), notes]
    parts += [markdown(block.table) for block in _overall_first(leaderboard(results, metric))]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def leaderboard_latex(results: Results, metric: str = "ece") -> str:
    """The leaderboard as LaTeX floats, after a comment with protocol, versions and commit."""
    tables = [latex(block.table) for block in _overall_first(leaderboard(results, metric))]
    return "\n".join([latex_head(results), *tables])


def latex_head(results: Results) -> str:
    """The comment at the top of every LaTeX file: where it comes from and what it needs."""
    return comment(results) + f"% needs \\usepackage{{{','.join(PACKAGES)}}} \\sisetup{{detect-weight=true}}\n"


def leaderboard_csv(results: Results) -> dict[str, str]:
    """The leaderboard as CSV, numbers unrounded: one table over datasets and backbones, one of the aggregates."""
    blocks = leaderboard(results)
    frames = [b.frame.assign(dataset=b.dataset, backbone=b.backbone) for b in blocks if b.dataset is not None]
    cells = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"dataset": [], "backbone": []})
    cells = cells[["dataset", "backbone", *(name for name in cells if name not in ("dataset", "backbone"))]]
    overall = [b.frame.to_csv(index=False) for b in blocks if b.dataset is None]
    return {"leaderboard.csv": cells.to_csv(index=False)} | dict(zip(["overall.csv"], overall, strict=False))


def _overall_first(blocks: list[Block]) -> list[Block]:
    return sorted(blocks, key=lambda block: block.dataset is not None)


def _markdown(results: Results) -> Files:
    yield "leaderboard.md", leaderboard_markdown(results)
    for table in suite_tables(results):
        protocol = "\n".join(f"- {escape(line)}" for line in protocol_lines(results))
        yield f"tables/{table.key}.md", f"{markdown(table)}\n{protocol}\n"


def _csv(results: Results) -> Files:
    yield from leaderboard_csv(results).items()
    for table in suite_tables(results):
        yield f"tables/{table.key}.csv", table.frame().to_csv(index=False)


def _latex(results: Results) -> Files:
    yield "leaderboard.tex", leaderboard_latex(results)
    for table in suite_tables(results):
        yield f"tables/{table.key}.tex", latex_head(results) + latex(table)


def _html(results: Results) -> Files:
    from calbench.benchmark.report.render.page import page

    yield "index.html", page(results, suite_tables(results))


def figure_files(results: Results, names: Iterable[str] | None = None) -> Files:
    """The figures `names` (all by default) as PNG and PDF files, drawn one after the other.

    Raises:
        InputError: an unknown figure.
    """
    from calbench.benchmark.report.figures.base import draw, save

    for drawn in draw(results, names):
        for kind, content in save(drawn.figure, results, drawn.caption).items():
            yield f"figures/{drawn.stem}.{kind}", content


def _document(results: Results) -> Files:
    """The figures, the tables and a document that shows them all."""
    from calbench.benchmark.report.figures.base import draw, save
    from calbench.benchmark.report.render.document import main_tex

    stems = []
    for drawn in draw(results):
        stems.append((drawn.stem, drawn.caption))
        for kind, content in save(drawn.figure, results, drawn.caption).items():
            yield f"figures/{drawn.stem}.{kind}", content
    yield from _latex(results)
    yield "main.tex", main_tex(results, [table.key for table in suite_tables(results)], stems)


_WRITERS: dict[str, Callable[[Results], Files]] = {
    "markdown": _markdown, "csv": _csv, "latex": _latex, "html": _html, "figures": figure_files, "document": _document,
}  # fmt: skip
_NOT_ALWAYS = {"markdown": ["tables/*.md"], "csv": ["overall.csv", "tables/*.csv"], "latex": ["tables/*.tex"]}
"""What a format writes for some results and not for others."""
FORMATS = tuple(_WRITERS)
"""The formats that `write_reports` knows; ``document`` is figures, LaTeX tables and a ``main.tex`` over them."""
QUICK_FORMATS = ("markdown", "csv", "latex", "html")
"""The formats that need no drawing."""


def write_reports(results: Results, folder: Path | str, formats: Iterable[str] = QUICK_FORMATS) -> list[Path]:
    """Write the reports of `results` into `folder`, each file whole or not at all.

    Returns:
        The paths of the files, as they were written.

    Raises:
        InputError: an unknown format, or a layout that cannot be filled.
        OSError: the folder cannot be written to, or the disk is full.
    """
    formats, folder = list(formats), Path(folder)
    check_names("report format", formats, FORMATS)
    written = [path for name in formats for path in _write(_WRITERS[name](results), folder)]
    for path in (old for name in formats for pattern in _NOT_ALWAYS.get(name, ()) for old in folder.glob(pattern)):
        if path not in written:  # of an earlier run of the suite with other options
            path.unlink()
    return written


def write_figures(results: Results, folder: Path | str, names: Iterable[str] | None = None) -> list[Path]:
    """Write the figures `names` (all by default) into ``figures`` under `folder`.

    Raises:
        InputError: an unknown figure.
    """
    return list(_write(figure_files(results, names), Path(folder)))


def _write(files: Files, folder: Path) -> Iterator[Path]:
    for name, content in files:
        path = folder / name
        write_atomically(path, content.encode() if isinstance(content, str) else content)
        yield path
