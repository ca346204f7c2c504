"""What pages of methods say beyond the declarations: families, cost, and results in our studies."""

import csv
import inspect
import json
import statistics
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from calbench.benchmark.cli.catalogue import measured_costs, seconds_shown
from calbench.benchmark.core.registry import Registry
from calbench.methods.running import KINDS

RESULTS = Path(__file__).parent.parent / "results"


class Group(NamedTuple):
    """The methods of one folder: the heading, and when to take one of them, which are its package's docstring."""

    title: str
    advice: str


def group_of(cls: Any) -> str:
    """The package that a method's file is in."""
    return cls.__module__.rpartition(".")[0]


@cache
def described(package: str) -> Group:
    """The group of a package."""
    module = sys.modules.get(package)  # a plug-in in a file of its own has no package
    title, _, advice = ((module and inspect.getdoc(module)) or "").partition("\n\n")
    return Group(title.removesuffix("."), " ".join(advice.split()))


def groups(registry: Registry) -> dict[str, list[str]]:
    """The names of the methods by package: losses first, and calibrators that keep accuracy before those that may not.

    Those that read features come last. Plug-ins have no page.
    """
    members: dict[str, list[str]] = {}
    for name in registry:
        if not registry[name].__module__.startswith("calbench."):
            continue
        members.setdefault(group_of(registry[name]), []).append(name)

    def place(package: str) -> tuple[int, bool, bool, str]:
        classes = [registry[name] for name in members[package]]
        features = all("features" in cls.needs for cls in classes)
        return KINDS.index(classes[0].kind), features, not all(cls.keeps_accuracy for cls in classes), package

    return {package: members[package] for package in sorted(members, key=place)}


class Outcome(NamedTuple):
    """How an entry of one method did on one network."""

    study: str
    network: str
    entry: str
    improvement: float
    low: float | None
    high: float | None
    reduction: float | None
    accuracy_change: float | None


@cache
def outcomes() -> dict[str, list[Outcome]]:
    """The outcomes of every method that is an entry by itself, from the committed results."""
    found: dict[str, list[Outcome]] = {}
    for folder in _studies():
        for row in csv.DictReader((folder / "leaderboard.csv").read_text("utf-8").splitlines(keepends=True)):
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
    title, advice = described(group_of(cls))
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
        "–" if one.accuracy_change is None else f"{one.accuracy_change:+.2f}",
    )
    return f"| {' | '.join(cells)} |"


def index_page(registry: Registry) -> str:
    """The methods by group, each with what it is, whether it keeps accuracy, and its mean effect in our studies."""
    lines = ["# Methods", ""]
    for package, names in groups(registry).items():
        title, advice = described(package)
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
    lines += cost_section()
    lines += [
        "*Better on*: networks of our studies on which the NLL is lower than the baseline's beyond its interval.",
        "",
    ]
    return "\n".join(lines)


def cost_section() -> list[str]:
    """The table of what every calibrator costs, from ``results/costs.csv``; nothing where it was not measured."""
    measured = measured_costs()
    if not measured:
        return []
    tasks = list(dict.fromkeys(row["task"] for rows in measured.values() for row in rows))
    heads = [f"{what} at {task} (s)" for task in tasks for what in ("fit", "transform")]
    lines = [
        "## What calibrators cost",
        "",
        "Seconds of the processor with the default options. Numbers are those that a fit keeps at the smaller size.",
        "",
        f"| calibrator | {' | '.join(heads)} | numbers | prediction |",
        "|---|" + "--:|" * len(heads) + "--:|---|",
    ]
    for name, rows in sorted(measured.items()):
        by_task = {row["task"]: row for row in rows}
        cells = [cell for task in tasks for cell in _times(by_task.get(task))]
        numbers, _, kept = rows[0]["note"].partition(" fitted numbers; ")
        shown = (numbers, kept.partition(" (")[0].removeprefix("prediction ")) if kept else ("–", "–")
        lines.append(f"| [{name}]({name}.md) | {' | '.join([*cells, *shown])} |")
    everything = [row for rows in measured.values() for row in rows]
    machines, commits = (", ".join(sorted({row[key] for row in everything})) for key in ("machine", "commit"))
    return [*lines, "", f"{machines}; measured at {commits}.", ""]


def _times(row: dict[str, str] | None) -> tuple[str, str]:
    """Seconds to fit and to transform, where a fit that was stopped has its limit."""
    if row is None:
        return "–", "–"
    what, _, limit = row["note"].removesuffix(", stopped").partition(": ")
    fit, transform = seconds_shown(row["seconds"]), seconds_shown(row["best"])
    return (limit if what == "fit" else fit, limit if what == "transform" else transform)


def _better(name: str) -> str:
    rows = outcomes().get(name, [])
    better = sum(row.low is not None and row.low > 0 for row in rows)
    return f"{better} of {len(rows)}" if rows else ""
