"""Synthetic results for the report tests: every part of the results contract, from a seed."""

import shutil

import numpy as np
import pandas as pd
import pytest

from calbench.benchmark.core.schema import COMPARISON_COLUMNS, RESULT_COLUMNS
from calbench.benchmark.report.render.page import page
from calbench.benchmark.report.report import Report
from calbench.benchmark.results.base_record import parse, parse_all
from calbench.benchmark.results.records import RunRecord
from calbench.benchmark.results.results import Results
from calbench.benchmark.results.series_records import CurveRecord, DiagramRecord

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip

METRICS = [
    {"name": "accuracy", "label": "Accuracy", "unit": "%", "better": "higher", "decimals": 2},
    {"name": "ece", "label": "ECE", "unit": "%", "better": "lower", "decimals": 2},
    {"name": "nll", "label": "NLL", "unit": "nats", "better": "lower", "decimals": 3},
    {"name": "oracle-ece", "label": "ECE to truth", "unit": "%", "better": "lower", "decimals": 2},
    {"name": "brier", "label": "Brier", "unit": "", "better": "lower", "decimals": 3},
]
BASE = {"accuracy": 92.0, "ece": 8.0, "nll": 0.4, "brier": 0.15, "noise-floor": 1.2, "noise-floor-95": 1.9}
DETECTION = {"auroc-max-softmax": 90.0, "auroc-energy": 92.0, "fpr95-max-softmax": 40.0, "fpr95-energy": 30.0,
             "scod": 25.0}  # fmt: skip
ENTRIES = ("cross-entropy", "cross-entropy + temperature-scaling", "focal", "calattn", "mixup + vector-scaling")
FACTORS = (1.0, 0.2, 0.6, 0.45, 1.3)


def build(
    datasets=("digits", "overlap"),
    backbones=("vit-micro", "swin-micro"),
    entries=ENTRIES,
    seeds=(0, 1),
    missing=(),
    failed_seeds=(),
    checkpoints=("last",),
    labels=None,
    oracle=True,
    compare=True,
    shifts=(),
    labels_of=None,
    **changes,
) -> Results:
    """Results with all their parts.

    ``missing`` are recipes without any value (every seed failed), as (dataset, backbone, recipe); ``failed_seeds`` are
    (dataset, backbone, recipe, seed) of which only one seed failed; ``changes`` are fields of the run's record.
    """
    rng = np.random.default_rng(0)
    recipes = {entry: entry.split(" + ")[0] if "scaling" in entry else entry for entry in entries}
    rows, cells = [], []
    for d in datasets:
        for b in backbones:
            for recipe in dict.fromkeys(recipes.values()):
                for seed in seeds:
                    failed = (d, b, recipe) in missing or (d, b, recipe, seed) in failed_seeds
                    cells.append(
                        {
                            "key": f"{abs(hash((d, b, recipe, seed))):x}"[:12], "dataset": d, "backbone": b,
                            "recipe": recipe, "seed": seed, "status": "failed" if failed else "done",
                            "reason": "the loss is not finite" if failed else None, "seconds": 3.5,
                            "parameters": 12345, "extra_parameters_percent": 0.115, "note": None,
                        }
                    )  # fmt: skip
            for i, entry in enumerate(entries):
                for seed in seeds:
                    recipe = recipes[entry]
                    if (d, b, recipe) in missing or (d, b, recipe, seed) in failed_seeds:
                        continue
                    for c, checkpoint in enumerate(checkpoints):
                        for s, split in enumerate(["test", *shifts]):
                            rows += _rows(rng, d, b, entry, recipe, seed, i, (1 + 0.5 * c, checkpoint), (1 + s, split))
    if oracle:
        for metric, base in BASE.items():
            value = base * 0.5 if metric not in ("accuracy",) else 95.0
            rows.append((datasets[-1], "", "oracle", "oracle", "none", seeds[0], checkpoints[0], "test", metric, value,
                         value * 0.9, value * 1.1))  # fmt: skip
    table = pd.DataFrame(rows, columns=RESULT_COLUMNS[:12]).reindex(columns=RESULT_COLUMNS)
    comparisons = compared(table, len(seeds)) if compare else pd.DataFrame(columns=COMPARISON_COLUMNS)
    run = (
        record(datasets, backbones, entries, recipes, seeds, cells, checkpoints, labels or {})
        | changes
        | {"labels": labels_of or {}}
    )
    return Results(
        table, comparisons, parse(RunRecord, run, "run"), parse_all(DiagramRecord, diagrams(rng, table, seeds), "d"),
        parse_all(CurveRecord, curves(rng, cells, checkpoints), "c"),
    )  # fmt: skip


def _rows(rng, d, b, entry, recipe, seed, i, rule, split):
    calibrator = entry.split(" + ")[1] if "scaling" in entry else "none"
    rows = []
    known = BASE | ({"oracle-ece": 7.0} if d == "overlap" else {})
    known = DETECTION if split[1].startswith("ood-") else known
    for metric, base in known.items():
        factor = FACTORS[i % len(FACTORS)] if metric in ("ece", "nll", "brier") else 1.0
        value = base * factor * rule[0] * split[0] if metric == "ece" else base * factor
        value = value - (4.0 if i == 3 else 0.1 * i) if metric == "accuracy" else value
        value *= 1 + 0.01 * rng.standard_normal()
        rows.append((d, b, entry, recipe, calibrator, seed, rule[1], split[1], metric, value, value * 0.9, value * 1.1))
    return rows


def compared(table: pd.DataFrame, expected: int, baseline="cross-entropy") -> pd.DataFrame:
    """Comparisons as the engine would store them, with made-up intervals of ten per cent."""
    keys = ["dataset", "backbone", "split", "checkpoint", "metric"]
    means = table.groupby([*keys, "entry"], sort=False)["value"].agg(["mean", "size"]).reset_index()
    rows = []
    for key, part in means.groupby(keys, sort=False):
        indexed = part.set_index("entry")
        values, sizes = indexed["mean"], indexed["size"].to_dict()
        base = values.get(baseline, np.nan)
        ranked = values.drop("oracle", errors="ignore")
        best = (ranked.max() if key[4] == "accuracy" else ranked.min()) if len(ranked) else np.nan
        for entry, value in values.items():
            change = value - base
            half = 0.5 if key[4] == "accuracy" else 0.02 * abs(value)
            rows.append(
                {
                    **dict(zip(keys, key, strict=True)), "entry": entry,
                    "seeds": int(sizes[entry]),
                    "expected_seeds": expected, "value": value, "low": value * 0.9, "high": value * 1.1,
                    "baseline": baseline, "change": change, "change_low": change - half, "change_high": change + half,
                    "reduction": 100 * (base - value) / base, "reduction_low": 100 * (base - value) / base - 5,
                    "reduction_high": 100 * (base - value) / base + 5, "differs": bool(abs(change) > half),
                    "tied_with_best": entry != "oracle" and bool(abs(value - best) <= half),
                    "calibrated": bool(value < 1.9) if key[4] == "ece" else None,
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=COMPARISON_COLUMNS)


def record(datasets, backbones, entries, recipes, seeds, cells, checkpoints, labels):
    def entry_record(entry):
        methods = [
            {
                "name": name, "label": name.title(), "kind": "calibrator" if "scaling" in name else "objective",
                "paper": "guo2017calibration", "options": {"criterion": "nll"}, "doc": f"The formula of {name}: z / T.",
            }
            for name in entry.split(" + ")
        ]  # fmt: skip
        return {
            "entry": entry, "label": labels.get(entry, entry.replace("temperature-scaling", "TS")),
            "recipe": recipes[entry], "calibrator": entry.split(" + ")[1] if "scaling" in entry else "none",
            "families": sorted({method["kind"] for method in methods}), "methods": methods,
        }  # fmt: skip

    return {
        "format": 1, "suite": "synthetic", "title": "A synthetic suite", "description": "Made up for tests.",
        "calbench": "0.1.0", "commit": "0123abc", "created": "2026-11-21", "command": "calbench run synthetic",
        "config": {"suite": "synthetic", "seeds": list(seeds)}, "protocol": {"name": "clean", "checkpoint": "last"},
        "protocol_text": ["Checkpoint: last epoch.", "ECE: 15 equal-width bins."], "baseline": entries[0],
        "datasets": list(datasets), "backbones": list(backbones), "entries": [entry_record(e) for e in entries],
        "seeds": list(seeds), "metrics": METRICS, "cells": cells, "notes": ["A note."],
        "versions": {"torch": "2.15"}, "hardware": {"cpu": "2 cores"}, "seconds": 12.0,
    }  # fmt: skip


def diagrams(rng, table, seeds):
    kept = table[(table["metric"] == "ece") & (table["split"] == "test")]
    found = []
    for row in kept.to_dict("records"):
        bins = []
        for i in range(15):
            low, high = i / 15, (i + 1) / 15
            count = int(400 * (i / 14) ** 3) if i > 3 else 0
            confidence = (low + high) / 2
            accuracy = float(np.clip(confidence - 0.08 + 0.03 * rng.standard_normal(), 0, 1))
            half = 1.0 / np.sqrt(max(count, 1))
            bins.append(
                {
                    "low": low, "high": high, "count": count, "confidence": confidence if count else None,
                    "accuracy": accuracy if count else None,
                    "accuracy_low": max(0.0, accuracy - half) if count else None,
                    "accuracy_high": min(1.0, accuracy + half) if count else None,
                }
            )  # fmt: skip
        temperature = None
        if "calattn" in row["entry"]:
            temperature = {"edges": [0.5 + 0.1 * i for i in range(11)], "counts": [1, 3, 8, 20, 40, 50, 30, 12, 5, 1]}
        kept_keys = ("dataset", "backbone", "entry", "seed", "checkpoint", "split")
        found.append({**{key: row[key] for key in kept_keys}, "bins": bins, "temperature": temperature})
    return found


def curves(rng, cells, checkpoints):
    found = []
    for cell in cells:
        if cell["status"] != "done":
            continue
        epochs = [
            {
                "epoch": e, "loss": 2 / e, "accuracy": 92 - 40 / e, "nll": 0.3 + 1 / e,
                "ece": float(3 + 0.4 * abs(e - 8) + 0.3 * rng.standard_normal()),
            }
            for e in range(1, 21)
        ]  # fmt: skip
        keys = ("dataset", "backbone", "recipe", "seed")
        found.append({**{key: cell[key] for key in keys}, "epochs": epochs, "checkpoints": {"last": 20, "best-ece": 8}})
    return found


@pytest.fixture(scope="session")
def builder():
    """The function that builds synthetic results."""
    return build


@pytest.fixture(scope="session")
def results():
    """Two datasets, two backbones, five entries, two seeds, the oracle on one dataset."""
    return build()


@pytest.fixture(scope="session")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="the page's test needs playwright")
    if CHROMIUM is None:
        pytest.skip("the page's test needs Debian's chromium, which is not installed")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens results as a page from disk; the page must log no error."""
    logged, pages = [], []

    def open_page(results, width=1280):
        path = tmp_path / "index.html"
        path.write_text(page(Report(results)), "utf-8")
        tab = browser.new_page(viewport={"width": width, "height": 900})
        pages.append(tab)
        tab.on("console", lambda message: logged.append(message.text))
        tab.on("pageerror", lambda error: logged.append(str(error)))
        tab.on("request", lambda request: None if request.url.startswith("file:") else logged.append(request.url))
        tab.goto(path.as_uri())
        return tab

    yield open_page
    for tab in pages:
        tab.close()
    assert logged == []
