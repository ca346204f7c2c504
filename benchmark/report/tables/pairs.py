"""Tables of the pairs of entries that a suite compares with each other."""

import pandas as pd

from calbench.benchmark.report.tables.stat import known_numbers
from calbench.benchmark.report.tables.table import Cell, Column, Row, Table
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.report.tables.views import Views

ALPHA = 0.05
CAPTION = (
    "Change of the metric from the second to the first entry of a pair, paired over test samples and seeds, with its "
    "95 % interval (not adjusted for multiplicity). p: two-sided, adjusted by Holm's method over the pairs of the same "
    "dataset, backbone and metric; bold where it is at most 0.05. Of the ECE, debiased values are compared."
)


def pair_tables(views: Views, metric: str = "ece") -> list[Table]:
    """The changes of NLL, Brier score, calibration error and accuracy between pairs, on the test split: a table each.

    Args:
        views: of the results.
        metric: the calibration error that is shown.

    Returns:
        No table where the suite names no pairs.
    """
    view = views.main
    frame = view.pair_changes
    metrics = [name for name in dict.fromkeys(("nll", "brier", metric, "accuracy")) if name in set(frame["metric"])]
    return [_table(view, frame, name) for name in metrics]


def _table(view: View, frame: pd.DataFrame, metric: str) -> Table:
    changes = _changes(frame[frame["metric"] == metric])
    rows = []
    for dataset, backbone in frame[["dataset", "backbone"]].drop_duplicates().itertuples(index=False):
        for first, second in frame[["first", "second"]].drop_duplicates().itertuples(index=False):
            cells = changes.get((dataset, backbone, first, second), (Cell(), Cell()))
            pair = f"{view.labels.get(first, first)} − {view.labels.get(second, second)}"
            labels = (view.short(dataset), view.short(backbone), pair)
            rows.append(Row((dataset, backbone, f"{first} - {second}"), labels, cells))
    info = view.metric(metric)
    columns = (
        Column("change", ("change",), info.unit_of_changes, info.better, info.decimals,
               signed=True, interval=True, help=f"{info.label} of the first entry minus that of the second"),
        Column("p", ("p",), decimals=3, help="p value of the change, adjusted over the pairs"),
    )  # fmt: skip
    title = f"Pairs of entries: {info.label}"
    return Table(f"pairs-{metric}", title, ("dataset", "backbone", "pair"), columns, tuple(rows), CAPTION,
                 smoke=view.run.smoke)  # fmt: skip


def _changes(frame: pd.DataFrame) -> dict[tuple[str, ...], tuple[Cell, Cell]]:
    """The change of a metric and its p value by dataset, backbone, first and second entry."""
    names = frame[["dataset", "backbone", "first", "second"]].astype(str).itertuples(index=False, name=None)
    numbers = [known_numbers(frame[name]) for name in ("change", "change_low", "change_high", "p_adjusted")]
    reasons = ["" if pd.isna(reason) else str(reason) for reason in frame["change_reason"].tolist()]
    cells = {}
    for name, change, low, high, p, reason in zip(names, *numbers, reasons, strict=True):
        notes = (reason,) if reason else ()
        significant = p is not None and p <= ALPHA
        cells[name] = Cell(change, low, high, bold=significant, notes=notes), _p_cell(p, notes)
    return cells


def _p_cell(p: float | None, notes: tuple[str, ...]) -> Cell:
    """A p value to three digits."""
    if p is None:
        return Cell(notes=notes)
    return Cell(p, text="< 0.001" if p < 0.001 else None)
