"""What pages of methods say beyond the declarations: groups by what they do, cost, and results in our studies."""

import csv
import json
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from calbench.benchmark.core.registry import Registry

RESULTS = Path(__file__).parent.parent / "results"

Group = tuple[str, str]
"""The heading of a group of methods, and when to take one of them."""

GROUPS: dict[str, Group] = {
    "objective": (
        "Losses",
        "Take one where you train the network anyway. They change accuracy as well as confidence, and most are better "
        "with a calibrator after them: compare `focal + temperature-scaling` with `temperature-scaling`, not with "
        "`cross-entropy`.",
    ),
    "augmentation": (
        "Augmentations",
        "Take one where you train the network and overfitting is what makes it overconfident. They often improve "
        "accuracy too, and can make a network underconfident, which temperature scaling corrects.",
    ),
    "head": (
        "Heads",
        "Trained with the backbone. Take one to study temperatures that depend on the input; compare with the same "
        "loss without the head, and with temperature scaling.",
    ),
    "procedure": (
        "Procedures",
        "They change how weights are updated or averaged, with any loss. Take one where you train the network and can "
        "afford more forward passes; compare with the same loss without it.",
    ),
    "scaling": (
        "Calibrators that keep the predicted class",
        "Start here. A temperature, or a function of the logits that keeps their order: few values to fit, so that a "
        "few hundred calibration samples are enough, and accuracy cannot change.",
    ),
    "class": (
        "Calibrators for each class",
        "Take one where classes are calibrated differently and there are calibration samples for each of them: about a "
        "hundred per class or more. They can change the predicted class, for better or worse.",
    ),
    "features": (
        "Calibrators that read features",
        "Take one where confidence should depend on more than the logits, for example far from the training data. They "
        "need the network's pooled features in the file, with the logits.",
    ),
    "binary": ("Calibrators for two classes", "For binary classifiers, with one score or two logits."),
}
"""The groups in the order of the page; which one a method is in follows from its declaration."""


def group_of(cls: Any) -> str:
    """The group of a method."""
    if cls.kind != "calibrator":
        return cls.kind
    if "binary" in cls.needs:
        return "binary"
    if "features" in cls.needs:
        return "features"
    return "scaling" if cls.keeps_accuracy else "class"


class Outcome(NamedTuple):
    """How an entry of one method did on one network."""

    study: str
    network: str
    entry: str
    improvement: float
    low: float | None
    high: float | None
    reduction: float | None
    accuracy_change: float


@cache
def outcomes() -> dict[str, list[Outcome]]:
    """The outcomes of every method that is an entry by itself, from the committed results."""
    found: dict[str, list[Outcome]] = {}
    for folder in _studies():
        for row in csv.DictReader((folder / "leaderboard.csv").open(encoding="utf-8")):
            name = row["entry"]
            if row["kind"] != "entry" or " + " in name or not row.get("nll_improvement"):
                continue
            network = f"{row['dataset']} / {row['backbone']}"
            numbers = [_number(row.get(column)) for column in _NUMBERS]
            found.setdefault(name.partition("(")[0], []).append(Outcome(folder.name, network, name, *numbers))  # type: ignore[arg-type]
    return found


_NUMBERS = ("nll_improvement", "nll_improvement_low", "nll_improvement_high", "reduction", "accuracy_change")


def _studies() -> Iterator[Path]:
    """The folders of committed results of whole suites."""
    for path in sorted(RESULTS.glob("*/run.json")):
        if (path.parent / "leaderboard.csv").is_file() and not json.loads(path.read_text("utf-8")).get("smoke"):
            yield path.parent


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None


@cache
def training_times() -> dict[str, tuple[float, int]]:
    """By method: the median of its training time over that of the baseline, and the number of pairs of runs."""
    ratios: dict[str, list[float]] = {}
    for folder in _studies():
        run = json.loads((folder / "run.json").read_text("utf-8"))
        recipes = {entry["recipe"]: entry["entry"] for entry in run["entries"] if " + " not in entry["entry"]}
        seconds = {(c["dataset"], c["backbone"], c["seed"], c["recipe"]): c["seconds"] or 0 for c in run["cells"]}
        for (dataset, backbone, seed, recipe), took in seconds.items():
            base = seconds.get((dataset, backbone, seed, run["baseline"]), 0)
            if base and took and recipe in recipes and recipe != run["baseline"]:
                ratios.setdefault(recipes[recipe].partition("(")[0], []).append(took / base)
    return {name: (statistics.median(values), len(values)) for name, values in ratios.items()}


def cost(name: str, cls: Any) -> str:
    """What a method costs, in one sentence, or ``""``."""
    if cls.kind != "calibrator":
        if name not in training_times():
            return ""
        ratio, pairs = training_times()[name]
        return f"Training took {ratio:.2f} times as long as the baseline's (median of {pairs} pairs of runs)."
    growth = f" It {cls.growth}." if cls.growth else ""
    return f"Fitted after training, on stored logits, in seconds to minutes on a CPU.{growth}"


def study_section(name: str, cls: Any) -> str:
    """The section of a method's page on group, cost and studies."""
    title, advice = GROUPS[group_of(cls)]
    lines = ["## When to take it", "", f"*{title}.* {advice}", ""]
    if text := cost(name, cls):
        lines += ["## Cost", "", text, ""]
    rows = outcomes().get(name, [])
    lines += ["## In our studies", ""]
    if not rows:
        return "\n".join([*lines, "No committed study has it as an entry by itself.", ""])
    lines += [
        "Changes against each study's baseline, with 95 % intervals. The pages of the studies say what they show.",
        "",
        "| study | network | entry | NLL improvement (nats) | ECE reduction (%) | Δ accuracy (points) |",
        "|---|---|---|--:|--:|--:|",
        *(_row(outcome) for outcome in rows),
        "",
    ]
    return "\n".join(lines)


def _row(one: Outcome) -> str:
    pages = [name for name in ("README.md", "leaderboard.md") if (RESULTS / one.study / name).is_file()]
    study = f"[{one.study}](../results/{one.study}/{pages[0]})" if pages else one.study
    interval = "" if one.low is None or one.high is None else f" \\[{one.low:+.3f}, {one.high:+.3f}\\]"
    reduction = "–" if one.reduction is None else f"{one.reduction:+.1f}"
    cells = (
        study,
        one.network,
        one.entry,
        f"{one.improvement:+.3f}{interval}",
        reduction,
        f"{one.accuracy_change:+.2f}",
    )
    return f"| {' | '.join(cells)} |"


def index_page(registry: Registry) -> str:
    """The methods by group, each with what it is, whether it keeps accuracy, and its mean effect in our studies."""
    lines = ["# Methods", ""]
    for group, (title, advice) in GROUPS.items():
        names = [name for name in registry if group_of(registry[name]) == group]
        if not names:
            continue
        lines += [
            f"## {title}",
            "",
            advice,
            "",
            "| name | in tables | | keeps accuracy | better on |",
            "|---|---|---|---|---|",
        ]
        for name in names:
            cls = registry[name]
            text = " ".join((cls.__doc__ or "").split("\n\n")[0].split()).replace("|", "\\|")
            keeps = "yes" if cls.keeps_accuracy else "no"
            lines.append(f"| [{name}]({name}.md) | {cls.spec.label} | {text} | {keeps} | {_better(name)} |")
        lines.append("")
    lines += [
        "*Better on*: networks of our studies on which the NLL is lower than the baseline's beyond its interval.",
        "",
    ]
    return "\n".join(lines)


def _better(name: str) -> str:
    rows = outcomes().get(name, [])
    better = sum(row.low is not None and row.low > 0 for row in rows)
    return f"{better} of {len(rows)}" if rows else ""
