"""Published numbers beside ours: ours, theirs, the difference, and whether theirs lies in our interval."""

import importlib.resources
from importlib.resources.abc import Traversable
from pathlib import Path

import pandas as pd

from ..errors import InputError, check_names
from ..results import Results
from .tables import Cell, Column, Mark, Row, Table
from .view import View

REFERENCE_COLUMNS = ["source", "dataset", "backbone", "entry", "metric", "value", "suspect", "note"]
"""Columns of a file of published numbers: tidy, one value a row; ``suspect`` is true where the source looks wrong."""


def reference_files() -> dict[str, Traversable]:
    """The files of published numbers that come with calbench, by name."""
    folder = importlib.resources.files("calbench.results").joinpath("reference")
    found = {f.name.removesuffix(".csv"): f for f in folder.iterdir() if f.name.endswith(".csv")}
    return {name: file for name, file in sorted(found.items()) if _is_tidy(file)}


def _is_tidy(file: Traversable) -> bool:
    with file.open("r", encoding="utf-8") as text:
        return set(REFERENCE_COLUMNS) <= set(text.readline().strip().split(","))


def load_reference(name: str | Path) -> pd.DataFrame:
    """Read published numbers: a name of `reference_files`, or a CSV file with `REFERENCE_COLUMNS`.

    Raises:
        InputError: an unknown name, or a file that lacks a column.
    """
    path = Path(name)
    if path.suffix != ".csv":
        known = reference_files()
        check_names("reference", [str(name)], known)
        with known[str(name)].open("r", encoding="utf-8") as text:
            return _typed(pd.read_csv(text))
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"reference {path.name}: {error}") from None
    missing = [column for column in REFERENCE_COLUMNS if column not in frame]
    if missing:
        raise InputError(f"reference {path.name}: the column {missing[0]!r} is missing")
    return _typed(frame)


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    suspect = frame["suspect"].astype(str).str.lower().isin(["true", "1", "1.0", "yes"])
    return frame.assign(suspect=suspect, value=pd.to_numeric(frame["value"], errors="coerce"))


def reference_table(results: Results, reference: pd.DataFrame) -> Table:
    """A row for each published number that these results have a value for.

    Raises:
        InputError: the results and the reference share no cell.
    """
    view = View(results)
    rows = []
    for record in reference.to_dict("records"):
        names = tuple(str(record[key]) for key in ("dataset", "backbone", "entry", "metric"))
        stat = view.stat(*names)
        if stat.value is None or pd.isna(record["value"]):
            continue
        theirs = float(record["value"])
        known = stat.low is not None and stat.high is not None
        inside = "" if not known else "yes" if stat.low <= theirs <= stat.high else "no"
        marks: tuple[Mark, ...] = ("suspect",) if record["suspect"] else ()
        notes = (str(record["note"]),) if marks and not pd.isna(record["note"]) else ()
        cells = (
            Cell(stat.value, stat.low, stat.high),
            Cell(theirs, marks=marks, notes=notes),
            Cell(stat.value - theirs),
            Cell(text=inside),
        )
        rows.append(Row(names, names, cells))
    if not rows:
        raise InputError("the results and the reference have no dataset, backbone, entry and metric in common")
    columns = (
        Column("ours", ("ours",), interval=True),
        Column("published", ("published",)),
        Column("difference", ("difference",), signed=True),
        Column("inside", ("published lies in our interval",)),
    )
    sources = ", ".join(dict.fromkeys(map(str, reference["source"])))
    return Table("reference", f"Ours and published: {sources}", ("dataset", "backbone", "entry", "metric"), columns,
                 tuple(rows))  # fmt: skip


def wins_and_losses(reference: pd.DataFrame, method: str) -> pd.DataFrame:
    """What published numbers say of `method` over all their cells: with it against the same entry without it.

    Args:
        reference: published numbers; lower is better.
        method: a part of an entry, such as ``calattn``.

    Returns:
        By source, dataset, metric and the calibrator after it: cells that are better, worse and equal with it.
    """
    values = reference.dropna(subset=["value"])
    keys = ["source", "dataset", "backbone", "entry", "metric"]
    known = values.drop_duplicates(keys).set_index(keys)["value"]
    records = []
    for (source, dataset, backbone, entry, metric), value in known.items():
        parts = entry.split(" + ")
        if method not in parts:
            continue
        without = (source, dataset, backbone, " + ".join(part for part in parts if part != method), metric)
        if without in known.index:
            after = " + ".join(parts[parts.index(method) + 1 :]) or "none"
            records.append((source, dataset, metric, after, known[without] - value))
    frame = pd.DataFrame(records, columns=["source", "dataset", "metric", "then", "gain"])
    grouped = frame.groupby(["source", "dataset", "metric", "then"], sort=False)["gain"]
    counts = {"better": lambda g: int((g > 0).sum()), "worse": lambda g: int((g < 0).sum())}
    counts["equal"] = lambda g: int((g == 0).sum())
    return grouped.agg(**counts).reset_index() if len(frame) else pd.DataFrame(columns=["better", "worse", "equal"])
