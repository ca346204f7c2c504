"""Writing the reports of a suite's results into its folder: tables, page, figures, a LaTeX document."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from ..errors import check_names
from ..folder import write_atomically
from ..results import Results
from .latex import PACKAGES, comment, latex
from .leaderboard import Block, leaderboard, protocol_lines
from .markdown import escape, markdown


def leaderboard_markdown(results: Results) -> str:
    """The leaderboard as Markdown: the protocol, the part over all cells, then one part a dataset and backbone."""
    run = results.run
    title = f"# {escape(str(run.get('title') or run.get('suite') or 'Leaderboard'))}"
    protocol = "\n".join(f"- {escape(line)}" for line in protocol_lines(results))
    made = f"calbench {run.get('calbench', '?')}, commit {run.get('commit') or 'unknown'}, {run.get('created', '')}."
    parts = [title, escape(str(run.get("description") or "")), protocol, escape(made)]
    parts += [markdown(block.table) for block in _overall_first(leaderboard(results))]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def leaderboard_latex(results: Results) -> str:
    """The leaderboard as LaTeX floats, after a comment with protocol, versions and commit."""
    tables = [latex(block.table) for block in _overall_first(leaderboard(results))]
    needs = f"% needs \\usepackage{{{','.join(PACKAGES)}}}\n"
    return "\n".join([comment(results) + needs, *tables])


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


_FILES: dict[str, Callable[[Results], dict[str, str | bytes]]] = {
    "markdown": lambda results: {"leaderboard.md": leaderboard_markdown(results)},
    "csv": leaderboard_csv,
    "latex": lambda results: {"leaderboard.tex": leaderboard_latex(results)},
}
FORMATS = tuple(_FILES)
"""The formats that `write_reports` knows."""


def write_reports(results: Results, folder: Path | str, formats: Iterable[str] = FORMATS) -> list[Path]:
    """Write the reports of `results` into `folder`, each file whole or not at all.

    Raises:
        InputError: an unknown format.
        OSError: the folder cannot be written to, or the disk is full.
    """
    formats = list(formats)
    check_names("report format", formats, FORMATS)
    written = []
    for name in formats:
        for path, content in _FILES[name](results).items():
            written.append(Path(folder) / path)
            write_atomically(written[-1], content.encode() if isinstance(content, str) else content)
    return written
