"""The leaderboard: its values, ranks, marks and averages."""

import pandas as pd
import pytest
from leaderboard_cells import block, cell, reductions, rows, text

from calbench.benchmark.report.render.markdown import markdown
from calbench.benchmark.report.render.terminal import render_terminal
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.tables.table import letter, number
from calbench.benchmark.report.write import QUICK_FORMATS, write_reports


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


@pytest.mark.slow
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
    lines = (tmp_path / "leaderboard.md").read_text().splitlines()
    assert {f"▲: {meaning}", f"▲: {meaning} on at least one cell"} <= {line.strip() for line in lines}
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


@pytest.mark.slow
def test_the_checkpoint_of_the_protocol_is_shown(builder):
    results = builder(checkpoints=("best-ece", "last"))
    last = results.comparisons.query(
        "dataset == 'digits' and backbone == 'vit-micro' and entry == 'focal' and metric == 'ece' and "
        "split == 'test' and checkpoint == 'last'"
    )
    assert cell(block(results, "digits", "vit-micro"), "focal", "ece").value == last["value"].item()


def test_the_rule_of_every_count_of_losses_is_said(results):
    table = reductions(results)
    assert "not tested" in next(column.help for column in table.columns if column.key == "worse")
    assert "Worse on counts every cell with a larger error" in table.caption


def test_numbers():
    assert number(-0.001, 2, signed=True) == "0.00"
    assert number(-1.5, 1) == "−1.5"
    assert number(2, 1, signed=True) == "+2.0"
    assert number(float("nan"), 2) == number(None, 2) == "–"
    assert [letter(i) for i in (0, 25, 26, 701, 702)] == ["a", "z", "aa", "zz", "aaa"]
