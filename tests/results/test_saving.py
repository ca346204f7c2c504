"""The files of a result: published together, edits shown, and a record of anything refused in one line."""

import json
import os
import random
from pathlib import Path

import pandas as pd
import pytest
from fast_set import slowly
from PIL import Image

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.report import write_reports
from calbench.benchmark.report.report import Report
from calbench.benchmark.results.checksums import CHECKSUMS, checksums
from calbench.benchmark.results.results import Results
from calbench.benchmark.results.series_records import CurveRecord, DiagramRecord

QUICK = Path(__file__).parents[2] / "results" / "quick"


@pytest.fixture(scope="module")
def small():
    """Two entries on one dataset and backbone of the quick suite, so that reports are fast."""
    whole = Results.load(QUICK)
    kept = {"cross-entropy", "temperature-scaling"}

    def rows(table):
        return table[table.entry.isin(kept) & (table.dataset == "digits") & (table.backbone == "vit-micro")]

    entries = tuple(entry for entry in whole.run.entries if entry.entry in kept)
    cells = tuple(c for c in whole.run.cells if c.recipe == "cross-entropy" and c.dataset == "digits")[:2]
    run = whole.run.model_copy(update={"entries": entries, "cells": cells})
    return Results(rows(whole.table), rows(whole.comparisons), run)


def renamed_run(results):
    return results.run.model_copy(update={"title": "New"})


@pytest.fixture
def folder(small, tmp_path):
    small.save(tmp_path / "r")
    return tmp_path / "r"


def test_what_was_saved_comes_back_unedited(small, folder):
    back = Results.load(folder)
    assert back.edited == ()
    assert back.run == small.run
    assert back.table["value"].tolist() == small.table["value"].tolist()  # to the last bit


@pytest.mark.parametrize(
    "name", ["results.csv", "run.json", *slowly("comparisons.csv", "diagrams.json", "curves.json")]
)
def test_an_edited_file_is_named_in_every_report(folder, name):
    path = folder / name
    text = path.read_text()
    path.write_text(text.replace("0.9", "0.8", 1) if name.endswith("csv") else text.rstrip() + " ")
    if name == "run.json":
        path.write_text(text.replace('"Quick suite"', '"My suite"'))
    loaded = Results.load(folder)
    assert loaded.edited == (name,)
    assert loaded.run.notes[0].startswith(f"{name}: edited by hand")
    write_reports(loaded, folder, ["markdown", "html", "latex", "csv"])
    for report in ("leaderboard.md", "index.html", "leaderboard.tex", "leaderboard.csv"):
        assert f"{name}: edited by hand" in (folder / report).read_text()


@pytest.mark.slow
def test_the_note_of_an_edit_is_on_everything_that_shows_numbers(calbench, finished, tmp_path):
    """Each table on its own, since people copy one; CSV has it in a column, since a comment would break readers."""
    folder, note = finished / "tiny", "results.csv: edited by hand"
    plain = {path.name: pd.read_csv(path) for path in folder.rglob("*.csv") if "notes" in path.read_text()[:9999]}
    path = folder / "results.csv"
    path.write_text(path.read_text().replace("0.", "0.1", 1))
    loaded = Results.load(folder)
    written = write_reports(loaded, folder, ["markdown", "html", "csv", "document"])
    assert {path.suffix for path in written} == {".md", ".html", ".csv", ".tex", ".png", ".pdf"}
    for file in written:
        if file.suffix == ".csv":
            table = pd.read_csv(file)
            assert table["notes"].str.contains(note).all(), file
            assert list(table) == list(plain.get(file.name, table)), file
        elif file.suffix == ".png":
            assert note in Image.open(file).text["Title"], file
        elif file.suffix in (".md", ".tex", ".html"):
            assert note in file.read_text(), file
    whole = (folder / "leaderboard.md").read_text()
    assert whole.count(note) > whole.count("\n## "), "every table has it"
    for text in (repr(loaded), loaded._repr_html_(), loaded.to_latex()):
        assert note in text
    forms, summary = ("csv", "markdown", "latex", "terminal"), Report(loaded).summary.key
    for options in [[*table, "--format", form] for form in forms for table in ([], ["--table", summary])]:
        _, out, _ = calbench("report", "tiny", *options, "--results-dir", "runs")
        assert note in " ".join(out.split()), options


@pytest.mark.slow
def test_every_command_names_an_edited_file(calbench, finished, tmp_path):
    path = finished / "tiny/results.csv"
    path.write_text(path.read_text().replace("0.", "0.1", 1))
    note = "results.csv: edited by hand"
    (tmp_path / "published.csv").write_text(
        "dataset,backbone,entry,metric,value,source\ndigits,vit-micro(width=16;heads=2),cross-entropy,ece,1.0,nobody\n"
    )
    for command in (
        ["report", "tiny"], ["report", "tiny", "--format", "csv"], ["report", "tiny", "--format", "latex"],
        ["plot", "tiny"], ["compare", "tiny", "--reference", "published.csv"],
    ):  # fmt: skip
        _, _, error = calbench(*command, "--results-dir", "runs")
        assert note in " ".join(error.split()), command


@pytest.mark.parametrize("renamed", range(5))
def test_a_kill_between_the_renames_shows(small, folder, monkeypatch, renamed):
    """The new results differ in every file; after the kill some are new."""
    where = {"dataset": "d", "backbone": "b", "seed": 0}
    diagrams = [DiagramRecord(entry="e", split="test", **where)]
    curves = [CurveRecord(recipe="r", **where)]
    new = Results(small.table[:-1], small.comparisons[:-1], renamed_run(small), diagrams, curves)
    replace, done = os.replace, []

    def killed(source, target):
        if len(done) == renamed:
            raise KeyboardInterrupt
        done.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        new.save(folder)
    loaded = Results.load(folder)
    assert bool(loaded.edited) == bool(renamed)
    assert loaded.run.title == small.run.title, "the record with the checksums comes last"


@pytest.mark.parametrize("written", range(5))
def test_a_full_disk_leaves_the_old_result(small, folder, monkeypatch, written):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    sync, done = os.fsync, []

    def full(handle):
        if len(done) == written:
            raise OSError(28, "No space left on device")
        done.append(handle)
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        Results(small.table[:-1], small.comparisons, renamed_run(small)).save(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def places(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def altered(run, source):
    """A copy of a record with one place replaced by something else or removed, and the right checksum."""
    run = json.loads(json.dumps(run))
    *parents, last = source.choice([path for path in places(run) if path])
    target = run
    for key in parents:
        target = target[key]
    if source.random() < 0.2:
        del target[last]
    else:
        target[last] = source.choice([None, 7, -1.5, "", "x\x1b[31m", [], ["a", 3], {}, {"a": {}}, True, "9" * 400])
    return run


@pytest.mark.slow
def test_altered_records_give_a_report_or_one_line(folder):
    """A stranger's results folder: the checksum is right, since anyone can compute it."""
    run = json.loads((folder / "run.json").read_text())
    files = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "run.json"}
    source, refused, written, rounds = random.Random(0), 0, 0, 150
    for _ in range(rounds):
        changed = altered({k: v for k, v in run.items() if k != CHECKSUMS}, source)
        (folder / "run.json").write_text(json.dumps(changed | {CHECKSUMS: checksums(changed, files)}))
        try:
            loaded = Results.load(folder)
            if written < 3:
                write_reports(loaded, folder, ["markdown", "latex"])
                written += 1
        except InputError as error:
            assert "\n" not in str(error)
            refused += 1
    assert refused > rounds / 8
    assert written == 3
