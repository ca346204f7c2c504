"""Tables of shifted test splits: a metric by severity, and how much of an entry's gain is kept."""

import re

from calbench.benchmark.report.tables.table import Cell, Column, Row, Table
from calbench.benchmark.report.tables.view import Stat, View
from calbench.benchmark.report.tables.views import Views
from calbench.benchmark.results.records import MetricRecord

METRICS = ("ece", "nll", "accuracy")
NOT_EVALUATED = "not evaluated on this split"
NO_GAIN = "nothing is gained at severity 0 beyond noise, or a reduction is not known"
PATCH, CHANGED = "shift-patch", "changed-predictions"
_GROUP = re.compile(r"shift-(?P<of>.*?)severity-(?P<severity>\d)$")


def severity_views(views: Views) -> dict[str, dict[int, View]]:
    """The results by severity, for each kind of shift: ``""`` for generated corruptions, else a set's name.

    Severity 0 is the clean test split.
    """
    if "split" not in views.results.table:
        return {}
    kinds: dict[str, dict[int, View]] = {}
    for split in sorted({str(name) for name in views.results.table["split"].dropna().unique()}):
        match = _GROUP.match(split)
        if match:
            kinds.setdefault(match["of"].rstrip("-"), {})[int(match["severity"])] = views(split)
    found = {of: dict(sorted(({0: views.main} | graded).items())) for of, graded in sorted(kinds.items())}
    return {of: graded for of, graded in found.items() if len(graded) > 1}


def shift_tables(views: Views) -> list[Table]:
    """One table per metric and kind of shift: rows are entries on a dataset and backbone, columns are severities."""
    tables = [
        _table(of, graded, metric)
        for of, graded in severity_views(views).items()
        for metric in METRICS
        if any(view.knows(metric) for view in graded.values())
    ]
    patched = PATCH in set(views.results.table.get("split", ()))
    return [*tables, _patch_table(views.main, views(PATCH))] if patched else tables


def _patch_table(clean: View, patched: View) -> Table:
    """Metrics on clean images and with one corrupted patch, and the share of predictions that it changes."""
    shown = [
        (view, metric, head)
        for metric in (*METRICS, CHANGED)
        for view, head in ((clean, "clean"), (patched, "one bad patch"))
        if any(key[3] == metric for key in view.stats)
    ]
    columns = []
    for view, metric, head in shown:
        info = view.metric(metric)
        key = f"{metric}_{head}".replace("-", "_").replace(" ", "_")
        columns.append(Column(key, (info.label, head), info.unit, info.better, info.decimals))
    rows = []
    for dataset, backbone in patched.pairs:
        for entry in patched.entries:
            stats = [view.stat(dataset, backbone, entry, metric) for view, metric, _ in shown]
            if all(stat.value is None for stat, (view, _, _) in zip(stats, shown, strict=True) if view is patched):
                continue
            labels = (dataset, backbone, patched.labels[entry])
            kind = "baseline" if entry == patched.baseline else "entry"
            rows.append(Row((dataset, backbone, entry), labels, tuple(map(_cell, stats)), kind))
    caption = (
        "Mean over positions of the patch and seeds. Changed: predictions that differ from those without the patch."
    )
    heads = ("dataset", "backbone", "entry")
    return Table(PATCH, "One corrupted patch", heads, tuple(columns), tuple(rows), caption, smoke=patched.run.smoke)


def kept_gain(clean: Stat, shifted: Stat) -> float | None:
    """The relative improvement over the baseline under shift, in per cent of that on the clean test split.

    100 is a reduction as large as on the clean split, more a larger one, and less than 0 an entry that is worse than
    the baseline under shift. None where nothing was gained on the clean split, or where that gain is within noise.
    """
    if clean.reduction is None or shifted.reduction is None or clean.reduction <= 0 or clean.differs is False:
        return None
    return 100 * shifted.reduction / clean.reduction


def _table(of: str, views: dict[int, View], metric: str) -> Table:
    first, last = next(iter(views.values())), max(views)
    info = first.metric(metric)
    with_gain = metric != "accuracy" and first.baseline is not None
    columns = [_column(info, severity) for severity in views]
    if with_gain:
        columns.append(
            Column("gain_kept", (f"Gain at {last}",), "% of that at 0", "higher", 0,
                   help="100: all of the gain is kept; above 100 it is larger than at 0, below 0 it is a loss")
        )  # fmt: skip
    rows = [
        _row(views, dataset, backbone, entry, metric, with_gain)
        for dataset, backbone in first.pairs
        for entry in first.entries
        if any(view.stat(dataset, backbone, entry, metric).value is not None for view in views.values())
    ]
    what = f"shifted set {of}" if of else "generated corruptions"
    caption = (
        f"{info.label} by severity ({what}): mean over corruptions and seeds; severity 0 is the clean test split. "
        + (f"Gain at {last}: relative improvement over the baseline at severity {last}, in per cent of that at "
           "severity 0 (100: all of it is kept; above 100 it is larger, below 0 a loss)." if with_gain else "")
    )  # fmt: skip
    key = "-".join(part for part in ("shift", of, metric) if part)
    return Table(key, f"{info.label} under shift", ("dataset", "backbone", "entry"), tuple(columns), tuple(rows),
                 caption.strip(), smoke=first.run.smoke)  # fmt: skip


def _column(info: MetricRecord, severity: int) -> Column:
    return Column(f"severity_{severity}", (info.label, str(severity)), info.unit, info.better, info.decimals)


def _row(views: dict[int, View], dataset: str, backbone: str, entry: str, metric: str, with_gain: bool) -> Row:
    first = next(iter(views.values()))
    stats = {severity: view.stat(dataset, backbone, entry, metric) for severity, view in views.items()}
    cells = [_cell(stat) for stat in stats.values()]
    is_baseline = entry == first.baseline
    if with_gain:
        kept = None if is_baseline else kept_gain(stats[0], stats[max(stats)])
        if is_baseline:
            cells.append(Cell(text="baseline"))
        else:
            cells.append(Cell(notes=(NO_GAIN,)) if kept is None else Cell(kept))
    names = (dataset, backbone, entry)
    return Row(names, (dataset, backbone, first.labels[entry]), tuple(cells), "baseline" if is_baseline else "entry")


def _cell(stat: Stat) -> Cell:
    if stat.value is None:
        return Cell(notes=(NOT_EVALUATED,))
    return Cell(stat.value, stat.low, stat.high, bold=bool(stat.tied_with_best))
