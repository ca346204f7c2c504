"""The leaderboard of results in which something is missing."""

from dataclasses import replace

import pytest
from leaderboard_cells import block, cell, reductions

from calbench.benchmark.report.render.markdown import markdown
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.write import write_reports


def test_a_missing_cell_stays_with_its_reason_and_its_averages_are_marked(builder):
    results = builder(missing=[("digits", "swin-micro", "focal")])
    table = block(results, "digits", "swin-micro")
    assert cell(table, "focal", "ece").missing
    assert list(table.footnotes) == ["failed: the loss is not finite (seeds 0, 1)"]
    overall = block(results, None, None)
    assert cell(reductions(results), "focal", "cells").text == "3 of 4"
    assert cell(overall, "focal", "mean").marks == ("partial",)
    assert cell(overall, "calattn", "mean").marks == ()
    assert overall.rows[-1].names == ("focal",), "an average over fewer cells is not ranked"
    assert "missing: digits / swin-micro" in overall.footnotes
    assert "| –<sup>a</sup>" in " ".join(markdown(table).split())


@pytest.mark.slow
def test_a_seed_that_failed_is_told(builder):
    table = block(builder(failed_seeds=[("digits", "vit-micro", "calattn", 1)]), "digits", "vit-micro")
    assert cell(table, "calattn", "accuracy").notes == ("failed: the loss is not finite (seed 1)",)
    assert not cell(table, "calattn", "ece").missing


@pytest.mark.slow
def test_a_failure_of_another_entry_of_the_recipe_is_not_told(builder):
    results, cells = builder(), []
    for record in results.run.cells:
        if record.recipe == "cross-entropy" and record.seed == 0:
            failed = {"status": "failed", "reason": "cross-entropy + temperature-scaling: cannot be fitted"}
            record = record.model_copy(update=failed)
        cells.append(record)
    results = replace(results, run=results.run.model_copy(update={"cells": tuple(cells)}))
    gone = (results.table["entry"] == "cross-entropy + temperature-scaling") & (results.table["seed"] == 0)
    results.table = results.table[~gone]
    table = block(results, "digits", "vit-micro")
    assert cell(table, "cross-entropy", "accuracy").notes == ()
    (note,) = cell(table, "cross-entropy + temperature-scaling", "accuracy").notes
    assert note == "failed: cross-entropy + temperature-scaling: cannot be fitted (seed 0)"


@pytest.mark.slow
def test_every_seed_failed_everywhere(builder, tmp_path):
    everything = [(d, b, "cross-entropy") for d in ("digits", "overlap") for b in ("vit-micro", "swin-micro")]
    results = builder(missing=everything)
    table = block(results, "digits", "vit-micro")
    assert cell(table, "cross-entropy", "ece").missing
    assert cell(table, "focal", "reduction").missing
    assert cell(reductions(results), "cross-entropy", "cells").text == "0 of 4"
    assert write_reports(results, tmp_path)


def test_nothing_at_all_was_computed(builder, tmp_path):
    recipes = ("cross-entropy", "focal", "calattn", "mixup")
    pairs = [(d, b) for d in ("digits", "overlap") for b in ("vit-micro", "swin-micro")]
    results = builder(missing=[(*pair, recipe) for pair in pairs for recipe in recipes], oracle=False)
    assert results.table.empty
    write_reports(results, tmp_path)
    assert "the loss is not finite" in (tmp_path / "leaderboard.md").read_text()


def test_results_without_comparisons_show_plain_means_and_nothing_bold(builder):
    results = builder(compare=False)
    table = block(results, "digits", "vit-micro")
    mean = results.table.query(
        "dataset == 'digits' and backbone == 'vit-micro' and entry == 'focal' and metric == 'ece'"
    )["value"].mean()
    assert cell(table, "focal", "ece").value == pytest.approx(mean)
    assert cell(table, "focal", "reduction").value is not None
    assert not any(c.bold for row in table.rows for c in row.cells)
    assert any("nothing is bold" in line for line in Report(results).protocol)
