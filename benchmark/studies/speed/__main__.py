"""Print the tables: ``python -m calbench.benchmark.studies.speed [GROUP ...] [--quick] [--repeats N]``."""

import argparse
import math
import platform
from collections.abc import Iterable
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import joblib
import pandas as pd
import torch
from tabulate import tabulate

from calbench.benchmark.core import environment
from calbench.benchmark.studies.speed.measure import GROUPS, Measurement

_LIBRARIES = ("calbench", "torch", "numpy", "netcal", "torchmetrics", "scikit-learn", "probmetrics")


def main() -> None:
    """Measure the groups asked for, one after the other."""
    parser = argparse.ArgumentParser(prog="python -m calbench.benchmark.studies.speed", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"any of: {', '.join(GROUPS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each line (default 5)")
    parser.add_argument("--csv", type=Path, help="write the lines to this file too, with commit and machine")
    options = parser.parse_args()
    for name in options.groups:
        if name not in GROUPS:
            parser.error(f"unknown group {name!r}; known: {', '.join(GROUPS)}")
    print(machine())
    origin = {"commit": environment.commit(), "machine": machine()}
    written: list[dict[str, object]] = []
    for name in options.groups or GROUPS:
        title, function = GROUPS[name]
        print(f"\n{title}{' (quick: a tenth of the samples)' if options.quick else ''}\n", flush=True)
        lines = []
        for line in function(options.quick, max(1, options.repeats)):
            lines.append(line)
            written.append({"group": name, **asdict(line)})
            if options.csv:  # line by line, so that nothing is lost to an interrupt
                pd.DataFrame(written).assign(**origin).to_csv(options.csv, index=False)
        print(render(lines), flush=True)


def machine() -> str:
    """One line on the machine and the versions of what is compared."""
    found = []
    for library in _LIBRARIES:
        try:
            found.append(f"{library} {version(library)}")
        except PackageNotFoundError:
            continue
    return f"{platform.machine()}, {joblib.cpu_count()} cores, {torch.get_num_threads()} threads; " + ", ".join(found)


def render(measurements: Iterable[Measurement]) -> str:
    """A Markdown table; the ratio is to the first line of the same task."""
    rows, first = [], {}
    for line in measurements:
        reference = first.setdefault(line.task, line)
        ratio = "" if line is reference else _number(line.seconds / reference.seconds, "x")
        rows.append([
            line.task, line.who, _number(line.seconds, " s"), _number(line.best, " s"), ratio,
            _number(line.extra_mb, " MB"), line.note,
        ])  # fmt: skip
    heads = ["task", "by", "median", "best", "times as long", "memory above input", "note"]
    return tabulate(rows, heads, tablefmt="github", disable_numparse=True)


def _number(value: float, unit: str) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.3f}{unit}" if value < 1 else f"{value:.2f}{unit}" if value < 10 else f"{value:.0f}{unit}"


if __name__ == "__main__":
    main()
