import pandas as pd
import pytest
import torch

from calbench.benchmark.cli import compare as commands_compare
from calbench.benchmark.config.protocol import make_protocol, named_protocols
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.config.suite_file import suite_files
from calbench.benchmark.core.schema import COMPARISON_COLUMNS, RESULT_COLUMNS
from calbench.benchmark.execution.collect import suite_declaration
from calbench.benchmark.execution.runner import RunOptions, run_suite
from calbench.benchmark.report.report import Report
from calbench.benchmark.report.write import write_reports
from calbench.benchmark.results.record import run_record
from calbench.benchmark.results.reference import align, load_reference
from calbench.benchmark.results.results import Results

PAPERS = ["calattn-table1", "calattn-table1-clean", "guo-table1", "mukhoti-table1", "overlap-mixup", "calattn-claim"]
HEADS = ("none", "calattn")
REFERENCED = {"calattn-table1": 588, "calattn-table1-clean": 588, "guo-table1": 14, "mukhoti-table1": 147}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPERS)
def test_the_smoke_form_goes_through_everything(name, tmp_path):
    suite = load_suite(name, smoke=True)
    results = run_suite(suite, RunOptions(results_dir=str(tmp_path), jobs=1))
    assert {cell.status for cell in results.run.cells} == {"done"}
    assert set(results.table["entry"]) - {"oracle"} == {entry.name for entry in suite.entries}
    tables = Report(results).layouts
    pairs = [f"pairs-{metric}" for metric in ("nll", "brier", "ece", "accuracy")] if suite.pairs else []
    assert [table.key for table in tables] == [*(layout["name"] for layout in suite.config.tables), *pairs]
    for table in tables:
        ours = [
            index
            for index, column in enumerate(table.columns)
            if column.key.endswith(("value", "reduction", "median", "change"))
        ]
        assert table.rows
        for row in table.rows:
            values = [row.cells[index].value for index in ours]
            assert any(value is not None for value in values), (table.key, row.names)
    write_reports(results, tmp_path / suite.name, ["markdown", "latex"])
    assert {file.stem for file in (tmp_path / suite.name / "tables").glob("*.tex")} == {table.key for table in tables}


def test_every_suite_that_comes_with_calbench_has_a_smoke_form_or_is_quick():
    assert set(suite_files()) >= {"quick", *PAPERS}
    for name in PAPERS:
        full, smoke = load_suite(name), load_suite(name, smoke=True)
        assert [entry.name for entry in smoke.entries] == [entry.name for entry in full.entries]
        assert smoke.config.tables == full.config.tables


def test_the_papers_own_recipes():
    assert len(load_suite("calattn-table1").entries) == 28
    paper = make_protocol("calattn-paper")
    assert paper.checkpoints == ("best-ece", "last")
    assert paper.training["lr"] == 0.1
    assert paper.training["clip"] == 5
    clean = load_suite("calattn-table1-clean")
    assert clean.protocol.checkpoint == "last"
    assert {e.name for e in clean.entries} >= {"calattn + temperature-scaling", "dual-focal", "mmce + calattn"}
    vit, deit, _ = load_suite("calattn-table1").backbones
    suite = load_suite("calattn-table1")
    assert suite.training_for(suite.datasets[0], vit).batch_size == 64
    assert suite.training_for(suite.datasets[0], deit).batch_size == 128


@pytest.mark.parametrize("gradients", [[3.0, 0.5], [0.001, 0.0005]], ids=["clipped", "not-clipped"])
def test_the_mean_loss_of_mukhoti_code_takes_the_steps_of_its_summed_loss(gradients):
    training = named_protocols()["mukhoti-code"]["training"]
    assert training["optimizer"] == "momentum"

    def steps(scale, lr, clip, decay):
        weight = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
        optimizer = torch.optim.SGD([weight], lr=lr, momentum=0.9, weight_decay=decay)
        for step in range(5):
            weight.grad = scale * torch.tensor(gradients, dtype=torch.float64) * (1 + step)
            torch.nn.utils.clip_grad_norm_([weight], clip)
            optimizer.step()
        return weight.detach()

    theirs = steps(128, 0.1, 2.0, 5e-4)
    ours = steps(1, training["lr"], training["clip"], training["weight_decay"])
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", REFERENCED)
def test_the_suite_has_the_cells_of_its_reference(name):
    suite = load_suite(name)
    assert len(beside(suite)) == REFERENCED[name]


def beside(suite):
    """The published numbers of the cells of a suite."""
    entries = {entry.name for entry in suite.entries}
    reference = align(load_reference(suite.config.reference), suite.config.reference, entries)
    datasets = {dataset.spelled() for dataset in suite.datasets}
    backbones = {backbone.spelled() for backbone in suite.backbones}
    here = (
        reference["dataset"].isin(datasets) & reference["backbone"].isin(backbones) & reference["entry"].isin(entries)
    )
    return reference[here]


def as_if_run(suite, shift):
    """Results whose every value is the published one plus `shift`, with an interval of half a point to either side."""
    where = {"recipe": "", "calibrator": "", "seed": 0, "checkpoint": suite.protocol.checkpoint, "split": "test"}
    table = beside(suite)[["dataset", "backbone", "entry", "metric", "value"]].assign(**where)
    table["value"] += shift
    table = table.assign(low=table["value"] - 0.5, high=table["value"] + 0.5).reindex(columns=RESULT_COLUMNS)
    run = run_record(suite_declaration(suite, []), [], [], "", 0.0)
    return Results(table, pd.DataFrame(columns=COMPARISON_COLUMNS), run)


def test_published_numbers_stand_beside_ours_with_their_difference_and_suspects():
    tables = {table.key: table for table in Report(as_if_run(load_suite("calattn-table1"), 0.25)).layouts}
    table = tables["ece"]
    keys = [column.key for column in table.columns]
    rows = {row.names: dict(zip(keys, row.cells, strict=True)) for row in table.rows}
    assert len(rows) == 42
    differences = [cells[key].value for cells in rows.values() for key in keys if key.endswith("difference")]
    assert len(differences) == 42 * 4
    assert differences == pytest.approx([0.25] * 42 * 4)
    swapped = rows["cifar100", "deit-s16-224", "dual-focal-calattn"]
    published = swapped["none/none/published"]
    assert published.value == 3.30
    assert published.marks == ("suspect",)
    assert "swapped" in published.notes[0]
    assert rows["cifar10", "vit-b16-224", "cross-entropy"]["none/none/published"].marks == ()
    reductions = {row.names: row.cells for row in tables["reduction"].rows}
    without, with_head = (rows["cifar100", "vit-b16-224", "cross-entropy"][f"none/{h}/value"].value for h in HEADS)
    exact = 100 * (without - with_head) / without
    assert reductions["cifar100", "vit-b16-224", "cross-entropy"][0].value == pytest.approx(exact)
    assert exact == pytest.approx(36.4, abs=0.1)
    assert len(tables["temperature"].rows) == 42


@pytest.mark.parametrize(("shift", "inside"), [(0.25, "14 of 14"), (0.75, "0 of 14")])
def test_compare_says_how_many_published_values_lie_in_our_intervals(tmp_path, capsys, shift, inside):
    as_if_run(load_suite("guo-table1"), shift).save(tmp_path / "guo-table1")
    arguments = ["guo-table1", "--reference", "guo2017", "--results-dir", str(tmp_path), "--format", "markdown"]
    assert commands_compare.app(arguments, standalone_mode=False) == 0
    shown = capsys.readouterr().out
    assert f"{inside} published values lie in our 95 % interval" in shown
    assert f"+{shift:.2f}" in shown


@pytest.mark.slow
def test_entries_that_stand_in_for_a_published_one_are_named(tmp_path, capsys):
    as_if_run(load_suite("calattn-table1-clean"), 0.0).save(tmp_path / "calattn-table1-clean")
    commands_compare.app(
        ["calattn-table1-clean", "--results-dir", str(tmp_path), "--format", "markdown"], standalone_mode=False
    )
    assert "published for mmce-calattn" in capsys.readouterr().out


def test_the_protocol_names_the_checkpoint_rule_and_those_also_recorded():
    told = make_protocol("calattn-paper").lines([0], "cross-entropy", [], trained=True)[1]
    assert "Checkpoint: the epoch with the best ece of the calibration split, for every entry" in told
    assert "(also recorded in the same runs: the last epoch)" in told
    assert "also recorded" not in make_protocol("clean").lines([0], "cross-entropy", [], trained=True)[1]
