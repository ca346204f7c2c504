"""Tables of published numbers: compared with calbench's results, and summarised by themselves."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd

from calbench.benchmark.config.entry import parse_entry
from calbench.benchmark.config.table_layout import Mark
from calbench.benchmark.core.errors import InputError, check_names
from calbench.benchmark.metrics.base import registry as metric_registry
from calbench.benchmark.report.tables.table import NO_INTERVAL, Cell, Column, Row, Table
from calbench.benchmark.report.tables.view import Key, View
from calbench.benchmark.results.reference import ANY_BACKBONE, align, load_reference


def load_aligned(name: str | Path, entries: Sequence[str]) -> pd.DataFrame:
    """Published numbers, each under the one of `entries` that it is compared with.

    Raises:
        InputError: an unknown reference, or a file that cannot be read.
    """
    return align(load_reference(name), name, entries)


def reference_table(view: View, reference: pd.DataFrame) -> Table:
    """A row for each published number that these results have a value for.

    Raises:
        InputError: the results and the reference have no cell in common.
    """
    rows = []
    for record, names in _with_backbones(view, reference):
        stat = view.stat(*names)
        if stat.value is None or pd.isna(record["value"]):
            continue
        theirs = float(record["value"])
        inside = None if stat.low is None or stat.high is None else "yes" if stat.low <= theirs <= stat.high else "no"
        marks: tuple[Mark, ...] = ("suspect",) if record["suspect"] else ()
        cells = (
            Cell(stat.value, stat.low, stat.high),
            Cell(theirs, marks=marks, notes=_notes(record)),
            Cell(stat.value - theirs),
            Cell(text=inside, notes=() if inside else (stat.interval_reason or NO_INTERVAL,)),
        )
        rows.append(Row(names, names, cells))
    if not rows:
        raise InputError(_nothing_in_common(view, reference))
    columns = (
        Column("ours", ("ours",), interval=True, help="Our mean over seeds, with its 95 % interval"),
        Column("published", ("published",), help="As printed in the source"),
        Column("difference", ("ours - published",), signed=True, priority=1, help="Ours minus the published value"),
        Column("inside", ("published in our interval",), help="Whether the published value lies in our interval"),
    )
    sources = ", ".join(dict.fromkeys(map(str, reference["source"])))
    heads = ("dataset", "backbone", "entry", "metric")
    return Table("reference", f"Ours and published: {sources}", heads, columns, tuple(rows), _verdict(rows),
                 smoke=view.run.smoke)  # fmt: skip


def _nothing_in_common(view: View, reference: pd.DataFrame) -> str:
    """Which names differ, the datasets first: a set that was made from another is not taken for it."""
    theirs, ours = list(dict.fromkeys(reference["dataset"].astype(str))), view.datasets
    if not set(theirs) & set(ours):
        near = [(own, other) for own in ours for other in theirs if own.startswith(other)]
        hint = "".join(
            f"; {own} is not {other} itself: --as {own}={other} compares them all the same" for own, other in near[:1]
        )
        return f"the reference is about {', '.join(theirs)}, these results about {', '.join(ours)}{hint}"
    return "the results and the reference have no backbone, entry and metric of the same dataset in common"


def under_other_names(reference: pd.DataFrame, pairs: Sequence[str], view: View) -> tuple[pd.DataFrame, list[str]]:
    """Published numbers of some datasets under the names of others that they are to be compared with.

    Args:
        reference: published numbers.
        pairs: ``OURS=THEIRS``, names of datasets.
        view: our results.

    Returns:
        The numbers, and a sentence for each pair, which says that the data are not the same.

    Raises:
        InputError: another form, or a name that the results or the reference do not have.
    """
    notes: list[str] = []
    for pair in pairs:
        ours, _, theirs = (part.strip() for part in pair.rpartition("="))  # ours may have options: overlap(train=300)
        if not ours or not theirs:
            raise InputError(f"--as {pair}: expected OURS=THEIRS, such as cifar10-jpeg=cifar10")
        check_names("dataset of these results", [ours], view.datasets)
        check_names("dataset of the reference", [theirs], list(dict.fromkeys(reference["dataset"].astype(str))))
        reference = reference.assign(dataset=reference["dataset"].replace(theirs, ours))
        notes.append(f"{ours} is compared with published numbers on {theirs}, as asked for: the data are not the same.")
    return reference, notes


def _with_backbones(view: View, reference: pd.DataFrame) -> Iterator[tuple[dict[str, Any], Key]]:
    """Every published number with the dataset, backbone, entry and metric of ours that it is compared with."""
    for record in cast("list[dict[str, Any]]", reference.to_dict("records")):
        dataset, backbone, entry, metric = (str(record[key]) for key in ("dataset", "backbone", "entry", "metric"))
        every = [ours for of, ours in view.pairs if of == dataset] if backbone == ANY_BACKBONE else [backbone]
        for one in every:
            yield record, (dataset, one, entry, metric)


def _notes(record: dict) -> tuple[str, ...]:
    notes = (str(record["note"]),) if record["suspect"] and not pd.isna(record["note"]) and record["note"] else ()
    theirs = record.get("published_entry", record["entry"])
    return notes if theirs == record["entry"] else (*notes, f"published for {theirs}")


def _verdict(rows: list[Row]) -> str:
    """How many published values lie in our intervals, of those cells that have one."""
    inside = [row.cells[3].text for row in rows if row.cells[3].text]
    if not inside:
        return "Our values have no intervals."
    return f"{inside.count('yes')} of {len(inside)} published values lie in our 95 % interval."


def summary_table(summary: pd.DataFrame, method: str, source: str) -> Table:
    """The table of `calbench.benchmark.results.reference.summary`.

    Args:
        summary: of that function.
        method: whose gains they are.
        source: where the numbers were published.
    """
    reductions = (
        ("ratio_of_means", "ratio of means", 1), ("mean_of_ratios", "mean of ratios", 2), ("median", "median", 2),
        ("smallest", "min", 3), ("largest", "max", 3),
    )  # fmt: skip
    counts = (("cells", 0), ("better", 0), ("worse", 0), ("equal", 4))
    means = (("baseline_mean", "without"), ("mean", "with"))
    columns = (
        *(Column(name, (name,), decimals=0, priority=priority) for name, priority in counts),
        *(Column(key, ("mean", name), better="lower", priority=5) for key, name in means),
        *(
            Column(key, ("relative reduction", name), "%", "higher", 0, signed=True, priority=priority)
            for key, name, priority in reductions
        ),
    )
    rows = []
    for record in summary.to_dict("records"):
        names = tuple(str(record[key]) for key in ("dataset", "metric", "then"))
        labels = (names[0], metric_registry[names[1]].spec.label, _short(names[2]))
        rows.append(Row(names, labels, tuple(Cell(float(record[column.key])) for column in columns)))
    title = f"With {method} and without it, over all published cells"
    return Table("summary", title, ("dataset", "metric", "then"), columns, tuple(rows), source)


def _short(entry: str) -> str:
    """The labels of an entry's methods; the entry where calbench lacks one."""
    try:
        return " + ".join(method.spec.label for method in parse_entry(entry).calibrators)
    except InputError:
        return entry
