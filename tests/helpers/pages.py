"""Pages of hostile results, and what a tab of a browser shows."""

from dataclasses import replace

from calbench.benchmark.results.base_record import parse, plain
from calbench.benchmark.results.records import RunRecord

EVIL = "</script><img src=x onerror=\"document.title='owned'\">"


def with_evil_names(builder):
    """Results in which every text that a user can set tries to break out of the page."""
    results = builder(
        entries=["cross-entropy", EVIL, 'a"b\'c & <d>', "100% _x_"], datasets=(f"set {EVIL}", "overlap"),
        labels={EVIL: f"label {EVIL}"}, missing=[("overlap", "vit-micro", "100% _x_")],
    )  # fmt: skip
    run = plain(results.run)
    run["title"] = run["description"] = run["command"] = EVIL
    run["protocol_text"] = run["notes"] = [EVIL]
    run["versions"] = {EVIL: EVIL}
    for cell in run["cells"]:
        cell["reason"] = cell["reason"] and EVIL
    for entry in run["entries"]:
        for method in entry["methods"]:
            method.update(label=EVIL, doc=EVIL, paper=EVIL, options={EVIL: EVIL})
    return replace(results, run=parse(RunRecord, run, "run"))


def shown(tab, column="0"):
    """The texts of a column of the rows that are seen."""
    script = """(rows, c) => rows.filter(r => !r.hidden).map(r => r.cells[c].dataset.v)"""
    return tab.locator("#cells tr[data-id]").evaluate_all(script, int(column))


SPLITS = ("shift-severity-0", "shift-severity-3", "shift-severity-5", "shift-fog-3", "shift-fog-5", "shift-patch",
          "shift-patch-11", "shift-imagenet-a", "shift-cifar10-c-fog-3", "ood-near", "ood-near-uncalibrated",
          "ood-far-mnist")  # fmt: skip
