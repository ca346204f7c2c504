"""The registry of figures, their common style, and saving them as PNG and PDF with their provenance."""

import contextlib
import io
import json
import re
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from calbench.benchmark.core.errors import check_names
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.results.base_record import plain

WIDTH = 3.3
"""Inches: one column of a paper."""
MAX_HEIGHT = 9.0
INK, GRID = "#222222", "#d0d0d0"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
"""Okabe and Ito's colours, distinguishable with any common colour blindness (yellow, too pale on white, is a brown)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")

STYLE = {
    "font.size": 7, "axes.titlesize": 7, "axes.labelsize": 7, "xtick.labelsize": 6, "ytick.labelsize": 6,
    "legend.fontsize": 6, "legend.frameon": False, "axes.linewidth": 0.6, "lines.linewidth": 1.0,
    "lines.markersize": 4, "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5,
    "ytick.major.size": 2.5, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": INK,
    "text.color": INK, "axes.labelcolor": INK, "xtick.color": INK, "ytick.color": INK, "grid.color": GRID,
    "grid.linewidth": 0.4, "text.parse_math": False, "pdf.fonttype": 42, "figure.dpi": 100, "savefig.dpi": 300,
    "axes.unicode_minus": True, "figure.constrained_layout.use": True,
}  # fmt: skip

Style = Literal["column", "double"]
WIDTHS: dict[Style, float] = {"column": WIDTH, "double": 6.9}
"""Inches: one column of a paper, and both."""


@dataclass(frozen=True)
class Look:
    """Which entries figures show, in which order, and their size.

    Attributes:
        entries: by name or label, in this order; empty for all.
        style: one or two columns of a paper.
        height: inches, or None for what the content needs.
        panels: most panels of one reliability figure.
    """

    entries: tuple[str, ...] = ()
    style: Style = "column"
    height: float | None = None
    panels: int = 6

    @property
    def width(self) -> float:
        """Inches."""
        return WIDTHS[self.style]


@dataclass(frozen=True)
class Drawing:
    """What a figure is drawn of: a report and a look."""

    report: Report
    look: Look = Look()

    @property
    def view(self) -> View:
        """The values."""
        return self.report.view

    @property
    def entries(self) -> list[str]:
        """The entries to show."""
        return self.report.entries(self.look.entries)

    def figure(self, height: float, width: float | None = None) -> Figure:
        """An empty figure, `height` inches high where the look does not say, and as wide as the look's columns."""
        return new_figure(self.look.height or height, width or self.look.width)

    def title(self, text: str) -> str:
        """`text`, marked in a smoke test."""
        return f"SMOKE {text}".strip() if self.report.run.smoke else text


Draw = Callable[[Drawing], Iterator[tuple[str, Figure]]]


@dataclass(frozen=True)
class FigureKind:
    """One kind of figure: its name, what its caption says, and the function that draws it.

    ``draw`` yields a suffix (a dataset, say, or ``""``) and a figure for each file; nothing where the results have
    nothing for it.
    """

    name: str
    caption: str
    draw: Draw


_kinds: dict[str, FigureKind] = {}


def figure_kind(name: str, caption: str) -> Callable[[Draw], Draw]:
    """Return the decorator that declares a function as the figure `name`."""

    def declare(draw: Draw) -> Draw:
        _kinds[name] = FigureKind(name, caption, draw)
        return draw

    return declare


def kinds() -> dict[str, FigureKind]:
    """All kinds of figures by name."""
    return dict(_kinds)


@dataclass(frozen=True)
class Drawn:
    """A drawn figure: its file's stem and its caption."""

    stem: str
    caption: str
    figure: Figure


def draw(report: Report, names: Iterable[str] | None = None, look: Look | None = None) -> Iterator[Drawn]:
    """Draw the figures `names` (all by default), one after the other.

    Raises:
        InputError: an unknown figure or entry.
    """
    drawing = Drawing(report, look or Look())
    known = kinds()
    names = list(known) if names is None else list(names)
    check_names("figure", names, known)
    taken: set[str] = set()
    for name in names:
        with style():
            for suffix, figure in known[name].draw(drawing):
                smoke = "SMOKE-" if report.run.smoke else ""
                stem = _free(smoke + re.sub(r"[^A-Za-z0-9]+", "-", f"{name}-{suffix}").strip("-"), taken)
                edited = f" {report.results.edit_note}." if report.results.edit_note else ""
                caption = _with_part(known[name].caption, suffix) + edited
                yield Drawn(stem, drawing.title(caption), figure)


def _with_part(caption: str, part: str) -> str:
    """A caption with the dataset and backbone that a figure shows, or with its number among several."""
    if part.isdecimal():
        return f"{caption} Part {part}."
    return f"{part}: {caption}" if part else caption


def _free(stem: str, taken: set[str]) -> str:
    """`stem`, with a number where two names become the same file name."""
    candidate, count = stem, 1
    while candidate.casefold() in taken:  # Windows and macOS take A.png and a.png for one file
        count += 1
        candidate = f"{stem}-{count}"
    taken.add(candidate.casefold())
    return candidate


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The common look, for the time of a block; a glyph that the font lacks is drawn as a box, without a warning."""
    with mpl.rc_context(cast("Any", STYLE)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, `height` inches high and one column wide."""
    figure = Figure(figsize=(width, min(height, MAX_HEIGHT)))
    FigureCanvasAgg(figure)
    figure.set_layout_engine("constrained", h_pad=0.02, w_pad=0.02, hspace=0.02, wspace=0.02)
    return figure


def label_outer(grid: np.ndarray, count: int, xlabel: str, ylabel: str) -> None:
    """Label the outer ones of the first `count` axes of a grid: the last of each column, the first of each row."""
    columns = grid.shape[1]
    for index, axes in enumerate(grid.flat[:count]):
        if index + columns >= count:
            axes.set_xlabel(xlabel)
        if index % columns == 0:
            axes.set_ylabel(ylabel)


def save(figure: Figure, report: Report, title: str) -> dict[str, bytes]:
    """The figure as ``png`` and ``pdf`` bytes, with config, commit and versions in the metadata."""
    run = report.run
    kept = ("suite", "calbench", "commit", "created", "config", "versions", "smoke")
    text = json.dumps({key: plain(run)[key] for key in kept} | {"results": report.digest}, sort_keys=True)
    software = f"calbench {run.calbench}".strip()
    metadata = {
        "png": {"Title": title, "Software": software, "Description": text},
        "pdf": {"Title": title, "Creator": software, "Subject": text, "CreationDate": None},
    }
    files = {}
    with style():
        for kind, entries in metadata.items():
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=entries)
            files[kind] = buffer.getvalue()
            figure.set_layout_engine("none")  # both files have the layout of the first, which takes long to find
    return files


def wrapped(text: str, width: int) -> str:
    """`text` in lines of at most `width` characters, broken between words; a longer word stays whole."""
    tied = text.replace(" / ", "\u00a0/ ")  # no line begins with the slash
    lines = [textwrap.wrap(line, width, break_long_words=False, break_on_hyphens=False) for line in tied.split("\n")]
    return "\n".join("\n".join(line) for line in lines)


def letters(inches: float, size: float = 7) -> int:
    """About how many characters of `size` points fit into a width."""
    return max(10, int(inches * 140 / size))


def short(text: str, width: int = 34) -> str:
    """`text` in at most `width` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"
