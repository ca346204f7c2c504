"""Tables of out-of-distribution detection: near and far apart, scores before and after calibration."""

from calbench.benchmark.report.tables.table import Cell, Column, Row, Table
from calbench.benchmark.report.tables.view import View
from calbench.benchmark.report.tables.views import Views

GROUPS = ("near", "far")
SCORES = ("max-softmax", "entropy", "energy", "max-logit", "kl-to-mean", "mahalanobis", "nearest-neighbours",
          "learned-temperature", "energy-forefront")  # fmt: skip
BEFORE = ("max-softmax", "energy")
"""The scores that are also shown as they were before calibration."""
NO_SCORE = "this network or split has no such score"
"""Why a cell is empty: a score may need what a network does not have, such as the temperature of a head."""
CALIBRATION = ("accuracy", "ece", "nll")


def group_views(views: Views) -> dict[str, View]:
    """The results averaged over the near and over the far sets, if any; those before calibration too."""
    if "split" not in views.results.table:
        return {}
    splits = {str(name) for name in views.results.table["split"].dropna().unique()}
    names = [name for group in GROUPS for name in (group, f"{group}-uncalibrated")]
    return {name: views(f"ood-{name}") for name in names if f"ood-{name}" in splits}


def ood_tables(views: Views) -> list[Table]:
    """AUROC and FPR at 95 % TPR of every score, and calibration compared with detection."""
    groups = group_views(views)
    if not groups:
        return []
    return [
        _scores(groups, "auroc", "AUROC of out-of-distribution detection"),
        _scores(groups, "fpr95", "False positive rate where 95 % of out-of-distribution samples are detected"),
        _side_by_side(groups, views.main),
    ]


def _scores(views: dict[str, View], measure: str, title: str) -> Table:
    columns: list[tuple[Column, View, str]] = []
    for name, view in views.items():
        group, _, before = name.partition("-")
        for score in BEFORE if before else SCORES:
            metric = f"{measure}-{score}"
            if any(key[3] == metric for key in view.stats):
                head = f"{score}, before" if before else score
                key = f"{group}_{score}{'_before' if before else ''}".replace("-", "_")
                info = view.metric(metric)
                columns.append((Column(key, (group, head), "%", info.better, 1), view, metric))
    caption = (
        f"{title}, per cent, by score; near and far sets averaged apart. Scores of confidences are those of the "
        "calibrated predictions; before: of the same network without its calibrator."
    )
    return _table(f"ood-{measure}", title, caption, columns, views)


def _side_by_side(views: dict[str, View], clean: View) -> Table:
    columns: list[tuple[Column, View, str]] = []
    for metric in CALIBRATION:
        if clean.knows(metric):
            info = clean.metric(metric)
            columns.append((Column(metric, ("test", info.label), info.unit, info.better, info.decimals), clean, metric))
    for name, view in views.items():
        if "-" in name:
            continue
        for metric, head in (("fpr95-max-softmax", "FPR95 max-softmax"), ("fpr95-energy", "FPR95 energy"),
                             ("fpr95-learned-temperature", "FPR95 temperature"), ("scod", "SCOD risk")):  # fmt: skip
            if any(key[3] == metric for key in view.stats):
                key = f"{name}_{metric}".replace("-", "_")
                columns.append((Column(key, (name, head), "%", view.metric(metric).better, 1), view, metric))
    title = "Calibration and out-of-distribution detection"
    caption = (
        "Calibration on the test split, and detection on near and far sets. SCOD risk: selective classification of "
        "test and out-of-distribution samples in equal shares, mean error over the coverage."
    )
    return _table("ood-calibration", title, caption, columns, views)


def _table(
    key: str, title: str, caption: str, columns: list[tuple[Column, View, str]], views: dict[str, View]
) -> Table:
    first = next(iter(views.values()))
    rows = []
    for dataset, backbone in first.pairs:
        for entry in first.entries:
            stats = [view.stat(dataset, backbone, entry, metric) for _, view, metric in columns]
            if all(stat.value is None for stat in stats):
                continue
            cells = tuple(Cell(notes=(NO_SCORE,)) if stat.value is None else Cell(stat.value) for stat in stats)
            kind = "baseline" if entry == first.baseline else "entry"
            rows.append(Row((dataset, backbone, entry), (dataset, backbone, first.labels[entry]), cells, kind))
    shown = tuple(column for column, _, _ in columns)
    heads = ("dataset", "backbone", "entry")
    return Table(key, title, heads, shown, tuple(rows), caption, smoke=first.run.smoke)
