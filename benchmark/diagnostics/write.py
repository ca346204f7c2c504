"""The files of a diagnosis: tables, figures, the record, and a page that shows them."""

import html
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from calbench.benchmark.core import environment
from calbench.benchmark.diagnostics.figures import figures
from calbench.benchmark.diagnostics.study import Diagnosis
from calbench.benchmark.report.figures.base import save
from calbench.benchmark.report.report import Report
from calbench.benchmark.results.records import RunRecord
from calbench.benchmark.results.results import Results

ROWS_SHOWN = 200
TITLES = {
    "attention": "Attention of the trained networks, mean over test images",
    "relations": "Relations of attention to correctness, confidence and temperature",
    "temperature-curve": "Attention temperature",
    "entropy-course": "Attention entropy and confidence over epochs",
    "entropy-order": "Which comes first: the fall of the entropy or the rise of the gap",
    "tempnet-control": "TempNet and the optimum of its loss",
}
NOTES = {
    "attention": "entropy: over log N, 1 is even. spikiness: 1 is even, 1/N is one key. significant-share: patches of "
    "the last block's attention above the bootstrap null (Benjamini-Hochberg; -lfdr: local false discovery rate). "
    "rollout-on-noise: rollout mass on a patch replaced by noise, over an even share. shrinkage-on-noise: percentile "
    "of its attention after regularisation over before; sparsity-on-noise: how often nothing is left.",
    "relations": "auroc: of misclassification, 0.5 is chance. spearman: rank correlation. 95 % bootstrap intervals "
    "over images of one network; they are not adjusted for the number of rows.",
    "temperature-curve": "changed: predictions that differ from those without a temperature. changed_by_noise: "
    "predictions that one patch of noise changes, under this temperature. In per cent.",
    "entropy-course": "signed_gap: confidence minus accuracy of the calibration split, in points; attention_entropy: "
    "over log N, mean over blocks. Recorded in training where the suite has attention_curve.",
    "entropy-order": "The epoch after which the entropy stays below the middle of its highest and last value, and "
    "the one after which the gap stays above the middle between its lowest and last value; lead: the second minus the "
    "first, in epochs.",
    "tempnet-control": "gap: mean |log tau_net - log tau*| on the test split, where tau* gives every sample the "
    "entropy log K - rho: the optimum of TempNet's loss on frozen logits, whatever the labels.",
}


def _run_record(run: Mapping[str, Any]) -> RunRecord:
    """What the metadata of a figure say of a diagnosis."""
    named = ("suite", "command", "commit", "versions", "hardware", "calbench")
    return RunRecord.model_validate({name: run[name] for name in named if name in run})


def write_diagnosis(diagnosis: Diagnosis, record: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write a diagnosis.

    Args:
        diagnosis: what was measured.
        record: suite, options and command, for ``diagnostics.json``.
        folder: where; made where needed.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    frames = diagnosis.frames()
    run = {
        **record, "notes": diagnosis.notes, "commit": environment.commit(), "versions": environment.versions(),
        "hardware": environment.hardware(), "calbench": environment.versions()["calbench"],
    }  # fmt: skip
    written = [folder / "diagnostics.json"]
    written[0].write_text(json.dumps(run, indent=1), "utf-8")
    for name, frame in frames.items():
        written.append(folder / f"{name}.csv")
        frame.to_csv(written[-1], index=False)
    shown = []
    report = Report(Results(pd.DataFrame(), pd.DataFrame(), _run_record(run)))
    for name, caption, figure in figures(frames, diagnosis.maps):
        for kind, data in save(figure, report, caption).items():
            written.append(folder / f"{name}.{kind}")
            written[-1].write_bytes(data)
        shown.append((name, caption))
    written.append(folder / "index.html")
    written[-1].write_text(_page(str(record.get("suite", "")), frames, shown, diagnosis.notes), "utf-8")
    return written


def _page(suite: str, frames: Mapping[str, pd.DataFrame], shown: list[tuple[str, str]], notes: list[str]) -> str:
    """One HTML page of everything."""
    parts = [f"<h1>Attention diagnostics: {html.escape(suite)}</h1>"]
    parts += [
        f'<figure><img src="{name}.png" alt="{html.escape(caption)}" width="500"><figcaption>{html.escape(caption)}'
        "</figcaption></figure>"
        for name, caption in shown
    ]
    for name, frame in frames.items():
        if len(frame):
            table = frame.head(ROWS_SHOWN).to_html(index=False, float_format=lambda value: f"{value:.3g}", na_rep="")
            more = f" The first {ROWS_SHOWN} of {len(frame)} rows." if len(frame) > ROWS_SHOWN else ""
            parts.append(f"<h2>{TITLES[name]}</h2><p>{html.escape(NOTES[name])}{more} <a href='{name}.csv'>CSV</a></p>")
            parts.append(f"<div class='wide'>{table}</div>")
    if notes:
        items = "".join(f"<li>{html.escape(note)}</li>" for note in notes)
        parts.append(f"<h2>Not diagnosed</h2><ul>{items}</ul>")
    return _HEAD.format(title=html.escape(suite)) + "".join(parts) + "</body></html>\n"


_HEAD = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<title>{title}: attention diagnostics</title><style>
body{{font:14px/1.45 sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#222}}
table{{border-collapse:collapse;font-size:12px}} td,th{{padding:2px 8px;text-align:right;border:0}}
th{{border-bottom:1px solid #888}} .wide{{overflow-x:auto}} figcaption{{max-width:40em}}
</style></head><body>"""
