"""The tables and the figure of the simulated coverage."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from calbench.benchmark.core import environment
from calbench.benchmark.metrics import registry
from calbench.benchmark.report.figures.base import MARKERS, PALETTE
from calbench.benchmark.studies.coverage.measure import Size

GOAL_COVERAGE, GOAL_LEVEL = (90.0, 99.0), 7.0
_TITLES = {
    "level": "Level: no difference in truth",
    "power": "Power: a difference in truth",
    "tried": "Tried for the mark of a difference and not used: other rules on the same tables",
}
_KEY = ["situation", "samples", "kind", "label", "metric"]


def coverage_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Coverage of the 95 % intervals, per cent, with the truth, the mean value and the share of sets with an interval.

    A change is of the NLL. A reduction without an interval (the baseline is within noise) is not counted as covered or
    missed.
    """
    part = rows[rows["kind"].isin(["coverage", "reduction", "change"])].copy()
    part["given"] = 100.0 * part["low"].notna()
    low, high, truth = part["low"], part["high"], part["truth"]
    # an estimate of 100 % less nothing is exact in floating point only up to rounding
    part["covered"] = 100.0 * ((low <= truth + 1e-9) & (truth <= high + 1e-9)).where(part["low"].notna())
    part["width"] = high - low
    part = part.rename(columns={"value": "mean"})
    columns = {
        "truth": "first",
        "mean": "mean",
        "debiased": "mean",
        "width": "mean",
        "given": "mean",
        "covered": "mean",
    }
    return part.groupby(_KEY, sort=False).agg(columns).reset_index()


def level_table(rows: pd.DataFrame) -> pd.DataFrame:
    """How often each mark appears in how many tests, per cent: its level without a true difference, else its power."""
    part = rows[rows["kind"].isin(["level", "power", "tried"])].copy()
    part["seen"] = 100.0 * part["seen"].astype(bool)
    part["seeds"] = part["seeds"].astype(int)
    part = part.rename(columns={"value": "detectable"})
    part["tests"] = 1
    columns = {"tests": "sum", "truth": "first", "detectable": "mean", "seen": "mean"}
    return part.groupby([*_KEY, "seeds"], sort=False).agg(columns).reset_index()


def pooled(levels: pd.DataFrame) -> pd.DataFrame:
    """Levels of one mark over all situations with as many samples and seeds, weighted by their tests."""
    keys = [*_KEY[1:], "seeds"]
    hits = levels.assign(seen=levels["seen"] * levels["tests"]).groupby(keys, sort=False)[["tests", "seen"]].sum()
    return hits.assign(seen=hits["seen"] / hits["tests"]).reset_index()


def verdicts(coverage: pd.DataFrame, levels: pd.DataFrame) -> list[str]:
    """One line per goal: what was reached, and everything that missed it."""
    low, high = GOAL_COVERAGE
    missed = coverage[(coverage["covered"] < low) | (coverage["covered"] > high)]
    level = levels[levels["kind"] == "level"]
    above = level[level["seen"] > GOAL_LEVEL]
    lines = [
        f"Coverage is between {coverage['covered'].min():.1f} and {coverage['covered'].max():.1f} % in "
        f"{len(coverage)} rows (goal: {low:g} to {high:g} %); outside the goal: {len(missed)}.",
        f"The highest level of a mark is {level['seen'].max():.1f} % in {len(level)} rows (goal: at most "
        f"{GOAL_LEVEL:g} %); above the goal: {len(above)}.",
    ]
    lines += [f"- {r['situation']}, {r['label']}, {r['metric']}: {r['covered']:.1f} %" for _, r in missed.iterrows()]
    return lines + [
        f"- N = {r['samples']:,}, {r['label']}, {r['metric']}, {r['seeds']} seeds: {r['seen']:.1f} % of {r['tests']:,}"
        for _, r in above.iterrows()
    ]


def markdown(coverage: pd.DataFrame, levels: pd.DataFrame, size: Size) -> str:
    """The tables in Markdown."""
    levels = pooled(levels)
    text = [*verdicts(coverage, levels), ""]
    error = 100 * np.sqrt(0.05 * 0.95 / size.sets)
    text += [
        f"{size.sets} test sets or more per situation: a share of 95 % has a standard error of {error:.1f} points. "
        "`tests` in levels.csv is the number that each level is a share of.", "",
    ]  # fmt: skip
    text += ["## Coverage of 95 % intervals, %", ""]
    for _, part in coverage.groupby("situation", sort=False):
        plain = part[part["kind"] == "coverage"]
        wide = plain.pivot(index="label", columns="metric", values="covered")[list(plain["metric"].unique())]
        wide.columns = [registry[str(name)].spec.label for name in wide]
        first = plain[plain["metric"] == "ece"].set_index("label")[["truth", "mean", "debiased"]]
        first.columns = ["true ECE", "mean ECE", "mean debiased"]
        reduction = part[part["kind"] == "reduction"].set_index("label")
        table = first.join(wide, how="left").join(
            reduction[["truth", "mean", "covered", "given"]].rename(
                columns={"truth": "true reduction", "mean": "mean reduction", "covered": "reduction covered",
                         "given": "reduction given"}
            )
        )  # fmt: skip
        change = part[part["kind"] == "change"].set_index("label")["covered"].rename("change of NLL covered")
        table = table.join(change)
        text += [f"**{_situation(part)}**", "", table.reindex(first.index).to_markdown(floatfmt=".1f"), ""]
    text += ["## How often a mark appears, %, by the number of seeds", ""]
    for kind, title in _TITLES.items():
        part = levels[levels["kind"] == kind]
        part = part.assign(samples=part["samples"].map(lambda size: f"{size:,}" if size else "tables"))
        wide = part.pivot_table(index=["samples", "label", "metric"], columns="seeds", values="seen", sort=False)
        text += [f"**{title}**", "", wide.reset_index().to_markdown(floatfmt=".1f", index=False), ""]
    return "\n".join(text).replace("nan", "").rstrip() + "\n"


def _situation(part: pd.DataFrame) -> str:
    accuracy = part.loc[part["metric"] == "accuracy", "truth"]
    return f"N = {part['samples'].iloc[0]:,}" + (f", accuracy {accuracy.iloc[0]:.3g} %" if len(accuracy) else "")


def figure(coverage: pd.DataFrame, levels: pd.DataFrame) -> Figure:
    """Coverage against the true ECE by number of samples, and levels against the number of seeds."""
    levels = pooled(levels)
    drawing = Figure(figsize=(9, 5.2), layout="constrained")
    left, right = drawing.subplots(1, 2)
    left.axhspan(*GOAL_COVERAGE, color="#0072B2", alpha=0.08)
    left.axhline(95, color="#0072B2", linewidth=0.7)
    for (_, part), marker in zip(coverage.groupby("situation", sort=False), "osD^v", strict=False):
        ece = part[part["metric"] == "ece"]
        truth = ece[ece["kind"] == "coverage"].set_index("label")["truth"]
        for kind, color in (("coverage", "#0072B2"), ("reduction", "#D55E00")):
            rows = ece[ece["kind"] == kind]
            name = f"{'ECE' if kind == 'coverage' else 'reduction'}, {_situation(part)}"
            at = rows["label"].map(truth)
            left.plot(at, rows["covered"], marker, color=color, markersize=4, label=name, alpha=0.8)
    left.set(xlabel="true ECE, %", ylabel="coverage of the 95 % interval, %", ylim=(80, 100.5))
    level = levels[levels["kind"] == "level"]
    level = level.assign(label=level["label"].str.replace(r", \d+ cells?$", "", regex=True))
    right.axhspan(0, GOAL_LEVEL, color="#0072B2", alpha=0.08)
    right.axhline(5, color="#0072B2", linewidth=0.7)
    seeds = sorted(level["seeds"].unique())
    for place, (label, part) in enumerate(level.groupby("label", sort=False)):
        worst = part.groupby("seeds")["seen"].max()
        marker, color = MARKERS[place % len(MARKERS)], PALETTE[place % len(PALETTE)]
        at = [seeds.index(one) for one in worst.index]
        right.plot(at, worst, marker=marker, color=color, markersize=4, linewidth=0.8, label=label)
    right.set(xlabel="seeds", ylabel="level, % (the worst case)", ylim=(0, None))
    right.set_xticks(range(len(seeds)), [str(s) for s in seeds])
    for axes in (left, right):
        axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(0, -0.14), frameon=False)
    return drawing


def write(rows: pd.DataFrame, size: Size, folder: Path, situations: Sequence[str] = ()) -> str:
    """Write coverage.csv, levels.csv, coverage.md, coverage.png and coverage.pdf; returns the Markdown.

    Args:
        rows: of the simulated sets.
        size: of the study.
        folder: of the files.
        situations: the names of all situations, in order; the rows of those that were not simulated are kept from the
            files of an earlier run. Every row has the commit that made it.
    """
    commit, versions = environment.commit() or "unknown", environment.versions()
    coverage, levels = (
        _merged(table.assign(commit=commit).round(4), folder / name, situations)
        for table, name in ((coverage_table(rows), "coverage.csv"), (level_table(rows), "levels.csv"))
    )
    commits = sorted({*coverage["commit"], *levels["commit"]})
    record = json.dumps({"study": asdict(size), "commits": commits, "versions": versions}, sort_keys=True)
    text = markdown(coverage, levels, size)
    made = (
        f"Made by calbench {versions['calbench']}, {'commit' if len(commits) == 1 else 'commits'} {', '.join(commits)}"
    )
    made += " (each row of the CSV files has its own).\n" if len(commits) > 1 else ".\n"
    (folder / "coverage.md").write_text(f"{text}\n{made}\n<!-- {record} -->\n", "utf-8")
    drawing = figure(coverage, levels)
    drawing.savefig(folder / "coverage.png", dpi=150, metadata={"Description": record})
    drawing.savefig(folder / "coverage.pdf", metadata={"Subject": record, "CreationDate": None})
    return text


def _merged(table: pd.DataFrame, path: Path, situations: Sequence[str]) -> pd.DataFrame:
    """`table` with the rows of other situations from the file of an earlier run, in the order of `situations`."""
    new = set(table["situation"])
    if path.is_file() and (kept := set(situations) - new):
        before = pd.read_csv(path)
        table = pd.concat([before[before["situation"].isin(kept)], table], ignore_index=True)
        order = {name: place for place, name in enumerate(situations)}
        table = table.sort_values("situation", key=lambda names: names.map(order), kind="stable", ignore_index=True)
    table.to_csv(path, index=False)
    return table
