"""The page's section of shifted and out-of-distribution splits: what its selectors offer and its table shows."""

import re
from typing import Any, NamedTuple

from calbench.benchmark.report.tables.ood import NO_SCORE
from calbench.benchmark.report.tables.shift import NOT_EVALUATED
from calbench.benchmark.report.tables.view import Stat, View
from calbench.benchmark.report.tables.views import Views

SHIFT, OOD = "shift-", "ood-"
SHIFT_METRICS = ("accuracy", "nll", "ece", "brier", "changed-predictions")
MEASURES = {"auroc": "AUROC", "fpr95": "FPR at 95 % TPR", "aupr": "AUPR", "aupr-in": "AUPR, in-distribution"}
OOD_METRICS = ("scod",)
_BEFORE = "-uncalibrated"
_MEAN = re.compile(r"(?:(?P<of>.+)-)?severity-(?P<severity>\d)$")
_GRADED = re.compile(r"(?P<of>.+)-(?P<severity>\d)$")
_PATCH = re.compile(r"patch(?:-(?P<place>\d+))?$")


class Place(NamedTuple):
    """Where a split is in the selectors.

    Attributes:
        group: the heading in the first selector.
        data: the choice in it.
        severity: the choice in the second selector, or None.
    """

    group: str
    data: str
    severity: int | None = None


def place_of(split: str) -> Place:
    """Where a shifted or out-of-distribution split is listed.

    Example:
        >>> place_of("shift-fog-3")
        Place(group='Shifted, by corruption', data='fog', severity=3)
    """
    if split.startswith(OOD):
        return _place_of_ood(split.removeprefix(OOD))
    name = split.removeprefix(SHIFT)
    if match := _MEAN.match(name):
        of = match["of"]
        return Place("Shifted, mean over corruptions", of or "generated corruptions", int(match["severity"]))
    if match := _PATCH.match(name):
        place = match["place"]
        return Place("One corrupted patch", "mean over positions" if place is None else f"position {place}")
    if match := _GRADED.match(name):
        return Place("Shifted, by corruption", match["of"], int(match["severity"]))
    return Place("Shifted sets", name)


def _place_of_ood(name: str) -> Place:
    before = name.endswith(_BEFORE)
    name = name.removesuffix(_BEFORE)
    kind, _, other = name.partition("-")
    suffix = ", before calibration" if before else ""
    return Place(f"Out of distribution, {kind}", (other or f"mean of the {kind} sets") + suffix)


def split_data(views: Views) -> dict[str, Any]:
    """The selectors' choices by group, and the values of every split that is neither the test nor a training split.

    Returns:
        ``groups``: (heading, choices) in the order of the selector; ``parts``: one record per split with its place, its
        ``columns`` (label, unit, decimals, measure) and its ``rows`` (entry, dataset, backbone, then for each column
        value, low, high and the reason where it has no value).
    """
    table = views.results.table
    names = sorted({str(name) for name in table["split"].dropna().unique()}) if "split" in table else []
    parts = [_part(place_of(name), views(name)) for name in names if name.startswith((SHIFT, OOD))]
    parts = sorted((part for part in parts if part["rows"]), key=_order)
    groups: dict[str, dict[str, None]] = {}
    for part in parts:
        groups.setdefault(part["group"], {})[part["data"]] = None
    return {"groups": [[name, list(choices)] for name, choices in groups.items()], "parts": parts}


def _order(part: dict[str, Any]) -> tuple[Any, ...]:
    """Means before what they are of, shifted before out-of-distribution splits, positions by number."""
    group, data = part["group"], part["data"]
    numbers = [int(number) for number in re.findall(r"\d+", data)] if data.startswith("position") else []
    return (
        group.startswith("Out"), "far" in group, "mean" not in group, group, "mean" not in data, "before" in data,
        numbers, data, part["severity"] or 0,
    )  # fmt: skip


def _part(place: Place, view: View) -> dict[str, Any]:
    columns = _columns(view, place.group.startswith("Out"))
    rows = []
    for dataset, backbone in view.pairs:
        for entry in view.entries:
            stats = [view.stat(dataset, backbone, entry, metric) for metric, _ in columns]
            if any(stat.value is not None for stat in stats):
                rows.append(
                    [
                        entry,
                        dataset,
                        backbone,
                        *(_value(view, (dataset, backbone, entry), stat, place) for stat in stats),
                    ]
                )
    shown = [(view.metric(metric), measure) for metric, measure in columns]
    return {
        "group": place.group, "data": place.data, "severity": place.severity, "rows": rows,
        "columns": [[info.label, info.unit, info.decimals, measure] for info, measure in shown],
    }  # fmt: skip


def _value(view: View, names: tuple[str, str, str], stat: Stat, place: Place) -> list[float | str | None]:
    if stat.value is not None:
        return [stat.value, stat.low, stat.high]
    other = NO_SCORE if place.group.startswith("Out") else NOT_EVALUATED
    return [None, None, None, "; ".join(view.reasons(*names)) or other]


def _columns(view: View, outside: bool) -> list[tuple[str, str]]:
    """The metrics with a value, each with the measure of detection under which it is shown (none: always)."""
    measured = dict.fromkeys(key[3] for key in view.stats)
    if not outside:
        return [(name, "") for name in SHIFT_METRICS if name in measured]
    columns = [(name, "") for name in OOD_METRICS if name in measured]
    for name in measured:
        measure = max((m for m in MEASURES if name.startswith(f"{m}-")), key=len, default=None)
        if measure:
            columns.append((name, MEASURES[measure]))
    return columns
