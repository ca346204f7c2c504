import io
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.report.render.markdown import markdown
from calbench.benchmark.report.render.terminal import render_terminal, terminal_table
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.table import Cell, Column, Row, Table, letter, number
from calbench.benchmark.report.write import FORMATS, QUICK_FORMATS, write_reports

HOSTILE = (
    "cross-entropy", "a_b", "50%", "x & y", "<script>alert(1)</script>", "back\\slash", "#1 \"quoted\" 'name'",
    "$math$ ^ ~ {braces}", "pipe | `tick`", "émile 中文 ↑", "[bold red]markup[/]", "a" * 90,
)  # fmt: skip


def block(results, dataset, backbone):
    blocks = reversed(Report(results).blocks)
    return next(b.table for b in blocks if (b.dataset, b.backbone) == (dataset, backbone))


def reductions(results):
    """The table of all aggregates of the ECE reductions."""
    return Report(results).table("overall-ece")


def rows(table):
    return {row.names[0]: row for row in table.rows}


def cell(table, entry, key):
    index = [column.key for column in table.columns].index(key)
    return rows(table)[entry].cells[index]


def text(renderable, width=100):
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return console.file.getvalue()


def test_one_block_a_pair_and_one_over_all(results):
    blocks = Report(results).blocks
    assert [(b.dataset, b.backbone) for b in blocks] == [
        ("digits", "vit-micro"), ("digits", "swin-micro"), ("overlap", "vit-micro"), ("overlap", "swin-micro"),
        (None, None), (None, None),
    ]  # fmt: skip


def test_values_are_those_of_the_comparisons(results):
    table = block(results, "digits", "vit-micro")
    stored = results.comparisons.query(
        "dataset == 'digits' and backbone == 'vit-micro' and entry == 'focal' and metric == 'ece'"
    ).iloc[0]
    ece, reduction = cell(table, "focal", "ece"), cell(table, "focal", "reduction")
    assert (ece.value, ece.low, ece.high) == (stored["value"], stored["low"], stored["high"])
    assert (reduction.value, reduction.low) == (stored["reduction"], stored["reduction_low"])


def test_ranked_by_ece_and_bold_only_where_tied_with_the_best(results):
    table = block(results, "digits", "vit-micro")
    values = [cell(table, row.names[0], "ece").value for row in table.rows]
    assert values == sorted(values)
    assert [row.names[0] for row in table.rows if cell(table, row.names[0], "ece").bold] == [
        "cross-entropy + temperature-scaling"
    ]


def test_marks(results):
    table = block(results, "digits", "vit-micro")
    assert cell(table, "cross-entropy + temperature-scaling", "ece").marks == ("calibrated",)
    assert cell(table, "calattn", "accuracy_change").marks == ("accuracy-loss",)
    assert cell(table, "focal", "ece").marks == ()


def test_not_different_from_the_baseline_is_marked(builder):
    results = builder()
    chosen = (results.comparisons["entry"] == "focal") & (results.comparisons["metric"] == "ece")
    results.comparisons.loc[chosen, "differs"] = False
    table = block(results, "digits", "vit-micro")
    assert cell(table, "focal", "reduction").marks == ("same",)
    assert "~ : not significantly different" in markdown(table).replace("\\~:", "~ :")


def test_accuracy_gain_and_insignificant_loss_are_not_marked(builder):
    results = builder()
    focal = (results.comparisons["entry"] == "focal") & (results.comparisons["metric"] == "accuracy")
    results.comparisons.loc[focal, ["change", "differs"]] = [2.0, True]
    calattn = (results.comparisons["entry"] == "calattn") & (results.comparisons["metric"] == "accuracy")
    results.comparisons.loc[calattn, "differs"] = False
    table = block(results, "digits", "vit-micro")
    assert cell(table, "focal", "accuracy_change").marks == ()
    assert cell(table, "calattn", "accuracy_change").marks == ()


@pytest.mark.slow
def test_an_nll_above_the_baseline_beyond_noise_is_marked_in_every_format(builder, tmp_path):
    results = builder()
    nll = results.comparisons["metric"] == "nll"
    for entry, change, differs in (("focal", 0.2, True), ("calattn", 0.2, False)):
        chosen = nll & (results.comparisons["entry"] == entry)
        low, high = change - 0.1, change + 0.1
        results.comparisons.loc[chosen, ["change", "change_low", "change_high", "differs"]] = [
            change,
            low,
            high,
            differs,
        ]
    table = block(results, "digits", "vit-micro")
    assert cell(table, "focal", "nll_improvement").marks == ("nll-loss",)
    assert cell(table, "calattn", "nll_improvement").marks == ("same",)
    assert "nll-loss" in cell(block(results, None, None), "focal", "nll_improvement").marks
    assert cell(reductions(results), "focal", "nll_losses").text == "4 of 4"
    assert cell(reductions(results), "focal", "nll_losses").marks == ("nll-loss",)
    assert cell(reductions(results), "calattn", "nll_losses").text == "0 of 4"
    meaning = "NLL significantly above the baseline's"
    shown = text(render_terminal(Report(results)), width=250)
    assert f"▲: {meaning}" in shown
    assert any("focal" in line.lower() and "▲" in line for line in shown.splitlines())
    write_reports(results, tmp_path, QUICK_FORMATS)
    assert f"▲: {meaning}" in (tmp_path / "leaderboard.md").read_text()
    assert "nll-loss" in (tmp_path / "index.html").read_text()
    assert r"$\blacktriangle$" in (tmp_path / "leaderboard.tex").read_text()
    marks = pd.read_csv(tmp_path / "leaderboard.csv").set_index("entry")["marks"]
    assert marks["focal"].astype("str").str.contains("nll-loss").all()
    assert not marks["calattn"].astype("str").str.contains("nll-loss").any()


def test_oracle_is_a_reference_and_neither_ranked_nor_averaged(results):
    table = block(results, "overlap", "swin-micro")
    assert table.rows[-1].names == ("oracle",)
    assert table.rows[-1].kind == "reference"
    assert not any(c.bold for c in table.rows[-1].cells)
    assert "oracle" not in rows(block(results, "digits", "vit-micro"))
    assert "oracle" not in rows(block(results, None, None))


def test_errors_against_the_truth_are_columns_where_it_is_known(results):
    with_truth, without = block(results, "overlap", "vit-micro"), block(results, "digits", "vit-micro")
    assert with_truth.columns[-1].heads == ("ECE to truth",)
    assert cell(with_truth, "focal", "oracle-ece").value == pytest.approx(7, rel=0.05)
    assert "oracle-ece" not in [column.key for column in without.columns]


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


def test_a_seed_that_failed_is_told(builder):
    table = block(builder(failed_seeds=[("digits", "vit-micro", "calattn", 1)]), "digits", "vit-micro")
    assert cell(table, "calattn", "accuracy").notes == ("failed: the loss is not finite (seed 1)",)
    assert not cell(table, "calattn", "ece").missing


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


def test_overall_aggregates_agree_with_the_table(results):
    overall = block(results, None, None)
    ece = results.table.query("metric == 'ece' and split == 'test' and entry != 'oracle'")
    means = ece.groupby(["dataset", "backbone", "entry"])["value"].mean().unstack("entry")
    base, focal = means["cross-entropy"], means["focal"]
    assert cell(overall, "focal", "mean").value == pytest.approx(focal.mean())
    ratio = 100 * (1 - focal.mean() / base.mean())
    assert cell(overall, "focal", "reduction").value == pytest.approx(ratio)
    table = reductions(results)
    assert cell(table, "focal", "ratio_of_means").value == pytest.approx(ratio)
    assert cell(table, "mixup + vector-scaling", "worse").text == "4 of 4"
    assert cell(table, "mixup + vector-scaling", "worst").value < -20


def test_the_checkpoint_of_the_protocol_is_shown(builder):
    results = builder(checkpoints=("best-ece", "last"))
    last = results.comparisons.query(
        "dataset == 'digits' and backbone == 'vit-micro' and entry == 'focal' and metric == 'ece' and "
        "split == 'test' and checkpoint == 'last'"
    )
    assert cell(block(results, "digits", "vit-micro"), "focal", "ece").value == last["value"].item()


def test_written_files(results, tmp_path):
    paths = write_reports(results, tmp_path / "new", ["markdown", "csv", "latex"])
    assert {path.name for path in paths} == {"leaderboard.md", "leaderboard.csv", "overall.csv", "leaderboard.tex"}
    frame = pd.read_csv(tmp_path / "new" / "leaderboard.csv")
    assert len(frame) == 4 * 5 + 2
    assert frame["ece"].dtype == float
    assert frame["reduction"].dtype == float
    assert not [path for path in (tmp_path / "new").iterdir() if path.name.startswith(".")]
    page = (tmp_path / "new" / "leaderboard.md").read_text()
    for line in ("Checkpoint: last epoch", "reductions refer to cross-entropy", "commit 0123abc", "ratio of means"):
        assert line in page


def test_hostile_names_come_out_everywhere(builder, tmp_path):
    results = builder(entries=HOSTILE, datasets=("d_1 & <2>",), backbones=("50%\\b",), labels={"a_b": "L|_&"})
    write_reports(results, tmp_path, ["markdown", "csv", "latex"])
    page = (tmp_path / "leaderboard.md").read_text()
    assert "<script>" not in page.replace("\\<script\\>", "")
    body = [line for line in page.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in body[:14]}) == 1, "a name broke a row"
    assert set(HOSTILE) <= set(pd.read_csv(tmp_path / "leaderboard.csv")["entry"])
    assert "[bold red]markup[/]" in text(render_terminal(Report(results)), 200)


@pytest.mark.slow
def test_a_hundred_entries_and_one_dataset(builder, tmp_path):
    results = builder(
        entries=["cross-entropy", *(f"method-{i}" for i in range(99))], datasets=("digits",), backbones=("vit-micro",),
        seeds=(0,), oracle=False,
    )  # fmt: skip
    assert len(block(results, "digits", "vit-micro").rows) == 100
    write_reports(results, tmp_path, ["latex"])
    assert r"\begin{longtable}" in (tmp_path / "leaderboard.tex").read_text()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_terminal_tells_the_protocol_and_every_entry(results, width):
    shown = text(render_terminal(Report(results)), width)
    assert "Checkpoint: last epoch." in shown
    assert shown.index("digits / vit-micro") < shown.index("All datasets and backbones")
    assert max(map(len, shown.splitlines())) <= width


def test_bold_is_a_star_where_the_output_has_none(results):
    table = block(results, "digits", "vit-micro")
    bold = {row.labels[-1] for row in table.rows if row.cells[0].bold}
    assert 0 < len(bold) < len(table.rows)
    plain = text(terminal_table(table), width=250)
    starred = {line.split("  ")[0].strip() for line in plain.splitlines() if " *" in line}
    assert bold <= starred
    assert "*: bold, which this output cannot show" in plain
    console = Console(file=io.StringIO(), width=250, force_terminal=True, color_system="standard", legacy_windows=False)
    console.print(terminal_table(table))
    shown = console.file.getvalue()
    assert "\x1b[1m" in shown
    assert "*" not in shown


def test_the_rule_of_every_count_of_losses_is_said(results):
    table = reductions(results)
    assert "not tested" in next(column.help for column in table.columns if column.key == "worse")
    assert "Worse on counts every cell with a larger error" in table.caption


def test_a_long_leaderboard_is_shown_by_its_summary(builder, monkeypatch):
    monkeypatch.setattr("calbench.benchmark.report.render.terminal.LONG", 50)
    entries = ["cross-entropy", *(f"method-{i}" for i in range(19))]
    backbones = ("vit-micro", "b", "c")
    results = builder(entries=entries, seeds=(0,), datasets=("digits",), backbones=backbones, oracle=False)
    shown = text(render_terminal(Report(results)))
    assert "leaderboard.md" in shown
    assert "All datasets and backbones" in shown
    assert "digits / vit-micro" not in shown


def test_unknown_format_names_the_nearest(results, tmp_path):
    with pytest.raises(InputError, match=r"unknown report format 'markdwn' \(did you mean 'markdown'\?\)"):
        write_reports(results, tmp_path, ["markdwn"])
    assert "markdown" in FORMATS


def test_numbers():
    assert number(-0.001, 2, signed=True) == "0.00"
    assert number(-1.5, 1) == "−1.5"
    assert number(2, 1, signed=True) == "+2.0"
    assert number(float("nan"), 2) == number(None, 2) == "–"
    assert [letter(i) for i in (0, 25, 26, 701, 702)] == ["a", "z", "aa", "zz", "aaa"]


@pytest.mark.parametrize(("width", "whole"), [(40, False), (60, True), (120, True)])
def test_room_that_columns_leave_goes_to_labels_that_would_be_wrapped(width, whole):
    label = "a-first-method of three words - a-second-method of three words"[: 62 if width == 120 else 40]
    table = Table("t", "Pairs", ("pair",), (Column("p", ("p",)),), (Row((label,), (label,), (Cell(0.5),)),))
    assert (label in text(terminal_table(table), width=width)) == whole
