"""The registry of figures, their common style, and how they are saved: PNG and PDF that say where they come from."""

import contextlib
import io
import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from calbench.benchmark.core.errors import check_names
from calbench.benchmark.results.results import Results

WIDTH = 3.3
"""Inches: one column of a paper."""
MAX_HEIGHT = 9.0
INK, GRID = "#222222", "#d0d0d0"
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
"""Okabe and Ito's colours, told apart under every common colour blindness (yellow, too pale on white, is a brown)."""
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

Draw = Callable[[Results], Iterator[tuple[str, Figure]]]


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


def draw(results: Results, names: Iterable[str] | None = None) -> Iterator[Drawn]:
    """Draw the figures `names` (all by default), one after the other.

    Raises:
        InputError: an unknown figure.
    """
    known = kinds()
    names = list(known) if names is None else list(names)
    check_names("figure", names, known)
    taken: set[str] = set()
    for name in names:
        with style():
            for suffix, figure in known[name].draw(results):
                stem = _free(re.sub(r"[^A-Za-z0-9]+", "-", f"{name}-{suffix}").strip("-"), taken)
                yield Drawn(stem, known[name].caption + (f" {suffix}." if suffix else ""), figure)


def _free(stem: str, taken: set[str]) -> str:
    """`stem`, with a number where two names become the same file name."""
    candidate, count = stem, 1
    while candidate in taken:
        count += 1
        candidate = f"{stem}-{count}"
    taken.add(candidate)
    return candidate


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The common look, for the time of a block; a glyph that the font lacks is drawn as a box, without a warning."""
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
        yield


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, `height` inches high and one column wide."""
    figure = Figure(figsize=(width, min(height, MAX_HEIGHT)))
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(h_pad=0.02, w_pad=0.02, hspace=0.02, wspace=0.02)
    return figure


def label_outer(grid: np.ndarray, count: int, xlabel: str, ylabel: str) -> None:
    """Label the outer ones of the first `count` axes of a grid: the last of each column, the first of each row."""
    columns = grid.shape[1]
    for index, axes in enumerate(grid.flat[:count]):
        if index + columns >= count:
            axes.set_xlabel(xlabel)
        if index % columns == 0:
            axes.set_ylabel(ylabel)


def save(figure: Figure, results: Results, title: str) -> dict[str, bytes]:
    """The figure as ``png`` and ``pdf`` bytes, with config, commit and versions in the metadata."""
    run = results.run
    record = {key: run.get(key) for key in ("suite", "calbench", "commit", "created", "config", "versions")}
    text = json.dumps(record, sort_keys=True, default=str)
    software = f"calbench {run.get('calbench', '')}".strip()
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
    return files


def short(text: str, width: int = 30) -> str:
    """`text` in at most `width` characters."""
    return text if len(text) <= width else text[: width - 1] + "…"
