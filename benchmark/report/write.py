"""Writing the reports of a suite's results into its folder: tables, page, figures, a LaTeX document."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from calbench.benchmark.core.errors import check_names
from calbench.benchmark.core.files import write_atomically
from calbench.benchmark.core.text import csv_safe
from calbench.benchmark.report.render.latex import PACKAGES, comment, latex
from calbench.benchmark.report.render.markdown import escape, markdown
from calbench.benchmark.report.report import Report
from calbench.benchmark.results.results import Results

if TYPE_CHECKING:
    from calbench.benchmark.report.figures.base import Look

Files = Iterator[tuple[str, str | bytes]]


def as_report(results: Results | Report) -> Report:
    """The report of results; a report itself as it is."""
    return results if isinstance(results, Report) else Report(results)


def leaderboard_markdown(report: Report) -> str:
    """The leaderboard as Markdown: the protocol, the parts over all cells, then one per dataset and backbone."""
    run = report.run
    provenance = f"{'; '.join(run.provenance)}."
    notes = "\n".join(f"- {escape(note)}" for note in run.notes)
    parts = [f"# {escape(run.shown_title)}", escape(run.description), _protocol_list(report), escape(provenance), notes]
    parts += [markdown(block.table) for block in report.overall_first]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _protocol_list(report: Report) -> str:
    return "\n".join(f"- {escape(line)}" for line in report.protocol)


def leaderboard_latex(report: Report) -> str:
    """The leaderboard as LaTeX floats, after a comment with protocol, versions and commit."""
    return "\n".join([latex_head(report), *(latex(block.table) for block in report.overall_first)])


def latex_head(report: Report) -> str:
    """The comment at the top of every LaTeX file: its provenance and the packages that it needs."""
    return comment(report) + f"% needs \\usepackage{{{','.join(PACKAGES)}}} \\sisetup{{detect-weight=true}}\n"


def table_latex(report: Report, name: str) -> str:
    """One table as LaTeX: a key of `Report.tables`, or a metric, for the main table in the order of that metric.

    Raises:
        InputError: an unknown name.
    """
    if name not in report.tables and report.view.knows(name):
        report = Report(report.results, order=name)
        name = report.summary.key
    table = report.summary if name == "overall" and len(report.blocks) == 1 else report.table(name)
    return latex_head(report) + latex(table)


def leaderboard_csv(report: Report) -> dict[str, str]:
    """The leaderboard as CSV, numbers unrounded: one table over datasets and backbones, and the aggregates."""
    frames = [b.frame.assign(dataset=b.dataset, backbone=b.backbone) for b in report.blocks if b.dataset is not None]
    cells = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"dataset": [], "backbone": []})
    cells = cells[["dataset", "backbone", *(name for name in cells if name not in ("dataset", "backbone"))]]
    files = {"leaderboard.csv": csv_safe(cells).to_csv(index=False)}
    overall = [block.frame for block in report.overall_first if block.dataset is None]
    if overall:
        merged = overall[0]
        for frame in overall[1:]:
            merged = _merged(merged, frame)
        files["overall.csv"] = csv_safe(merged).to_csv(index=False)
    return files


def _merged(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Two tables of the same entries side by side, their marks and notes joined."""
    shared = {"entry", "kind", "marks", "notes"}
    more = [name for name in second if name not in shared and name not in first]
    merged = first.merge(second[["entry", *more, "marks", "notes"]], on="entry", suffixes=("", "_more"))
    joined = {
        name: [
            mark.join(dict.fromkeys(part for text in pair for part in text.split(mark) if part))
            for pair in zip(merged[name], merged[f"{name}_more"], strict=True)
        ]
        for name, mark in (("marks", " "), ("notes", "; "))
    }
    return merged.assign(**joined).drop(columns=[f"{name}_more" for name in joined])


def _markdown(report: Report) -> Files:
    yield "leaderboard.md", leaderboard_markdown(report)
    for table in report.layouts:
        yield f"tables/{table.key}.md", f"{markdown(table)}\n{_protocol_list(report)}\n"


def _csv(report: Report) -> Files:
    yield from leaderboard_csv(report).items()
    for table in report.layouts:
        yield f"tables/{table.key}.csv", csv_safe(table.frame()).to_csv(index=False)


def _latex(report: Report) -> Files:
    yield "leaderboard.tex", leaderboard_latex(report)
    for table in report.layouts:
        yield f"tables/{table.key}.tex", latex_head(report) + latex(table)


def _html(report: Report) -> Files:
    from calbench.benchmark.report.render.page import page

    yield "index.html", page(report)


def figure_files(report: Report, names: Iterable[str] | None = None, look: "Look | None" = None) -> Files:
    """The figures `names` (all by default) as PNG and PDF files, drawn one after the other.

    Raises:
        InputError: an unknown figure or entry.
    """
    from calbench.benchmark.report.figures.base import draw, save

    for drawn in draw(report, names, look):
        for kind, content in save(drawn.figure, report, drawn.caption).items():
            yield f"figures/{drawn.stem}.{kind}", content


def _document(report: Report, look: "Look | None") -> Files:
    """The figures, the tables and a document that shows them all."""
    from calbench.benchmark.report.figures.base import draw, save
    from calbench.benchmark.report.render.document import main_tex

    stems = []
    for drawn in draw(report, None, look):
        stems.append((drawn.stem, drawn.caption))
        for kind, content in save(drawn.figure, report, drawn.caption).items():
            yield f"figures/{drawn.stem}.{kind}", content
    yield from _latex(report)
    yield "main.tex", main_tex(report, [table.key for table in report.layouts], stems)


_WRITERS: dict[str, Callable[[Report], Files]] = {"markdown": _markdown, "csv": _csv, "latex": _latex, "html": _html}
_DRAWERS: dict[str, Callable[[Report, "Look | None"], Files]] = {
    "figures": lambda report, look: figure_files(report, look=look), "document": _document,
}  # fmt: skip
_NOT_ALWAYS = {
    "markdown": ["tables/*.md"], "csv": ["overall.csv", "tables/*.csv"], "latex": ["tables/*.tex"],
    "figures": ["figures/*.png", "figures/*.pdf"], "document": ["figures/*.png", "figures/*.pdf", "tables/*.tex"],
}  # fmt: skip
"""What a format writes for some results and not for others: older files of these names are removed."""
FORMATS = (*_WRITERS, *_DRAWERS)
"""The formats that `write_reports` knows; ``document`` is figures, LaTeX tables and a ``main.tex`` over them."""
QUICK_FORMATS = tuple(_WRITERS)
"""The formats that need no drawing."""


def write_reports(
    results: Results | Report, folder: Path | str, formats: Iterable[str] = QUICK_FORMATS, look: "Look | None" = None
) -> list[Path]:
    """Write the reports of `results` into `folder`, each file whole or not at all.

    Tables that these results do not have are removed, and so are figures and a ``main.tex`` of other results.

    Args:
        results: what to report on.
        folder: where to write.
        formats: of `FORMATS`.
        look: entries, size and style of figures.

    Returns:
        The paths of the files, as they were written.

    Raises:
        InputError: an unknown format, or a layout that cannot be filled.
        OSError: the folder cannot be written to, or the disk is full.
    """
    formats, folder, report = list(formats), Path(folder), as_report(results)
    check_names("report format", formats, FORMATS)
    written: list[Path] = []
    if "document" in formats:  # which has the figures and the tables
        formats = [name for name in formats if name not in ("figures", "latex")]
    for name in formats:
        files = _DRAWERS[name](report, look) if name in _DRAWERS else _WRITERS[name](report)
        written += _write(files, folder)
    patterns = [pattern for name in formats for pattern in _NOT_ALWAYS.get(name, ())]
    for path in (old for pattern in patterns for old in folder.glob(pattern)):
        if path not in written:
            path.unlink()
    remove_stale(report, folder)
    return written


def remove_stale(report: Report, folder: Path) -> None:
    """Remove figures and a ``main.tex`` that were made of other results than `report`'s."""
    figures = [*folder.glob("figures/*.png"), *folder.glob("figures/*.pdf"), *folder.glob("main.tex")]
    for path in figures:
        if report.digest.encode() not in path.read_bytes():
            path.unlink()


def write_figures(
    results: Results | Report, folder: Path | str, names: Iterable[str] | None = None, look: "Look | None" = None
) -> list[Path]:
    """Write the figures `names` (all by default) into ``figures`` under `folder`.

    Raises:
        InputError: an unknown figure or entry.
    """
    report = as_report(results)
    written = list(_write(figure_files(report, names, look), Path(folder)))
    remove_stale(report, Path(folder))
    return written


def _write(files: Files, folder: Path) -> Iterator[Path]:
    for name, content in files:
        path = folder / name
        write_atomically(path, content.encode() if isinstance(content, str) else content)
        yield path
