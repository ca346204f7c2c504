"""The speed command: what a line holds, how tables are drawn, and peers that are not installed."""

import math
import mmap
import sys

import pytest

from calbench.benchmark.studies.speed import __main__ as command
from calbench.benchmark.studies.speed import costs, engine, shift
from calbench.benchmark.studies.speed import measure as module
from calbench.benchmark.studies.speed import metrics as speed_metrics
from calbench.benchmark.studies.speed.measure import GROUPS, Measurement, group, measure


@pytest.fixture
def toy_group():
    @group("toy", "A toy")
    def toy(quick, repeats):
        yield measure("sum", "us", lambda: sum(range(10)), repeats, "quick" if quick else "")
        yield measure("sum", "peer", missing_peer, repeats)

    yield
    del GROUPS["toy"]


def missing_peer():
    import calbench_no_such_peer  # noqa: F401


def test_a_call_is_timed_and_its_memory_taken():
    def touch_new_pages():  # an allocator may give memory that is resident already
        with mmap.mmap(-1, 64_000_000) as pages:
            pages.write(b"x" * len(pages))

    line = measure("task", "us", touch_new_pages, repeats=3)
    assert 0 < line.best <= line.seconds
    assert math.isnan(line.extra_mb) or line.extra_mb > 50


def test_memory_is_nan_where_the_system_does_not_say(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_RESET", tmp_path / "no" / "file")
    assert math.isnan(measure("task", "us", lambda: None, repeats=1).extra_mb)


def test_missing_peer_is_a_line_that_says_so():
    line = measure("task", "peer", missing_peer, repeats=2)
    assert math.isnan(line.seconds)
    assert line.note == "skipped: calbench_no_such_peer is not installed"


def test_ratios_are_to_the_first_line_of_a_task():
    text = command.render(
        [
            Measurement("a", "us", 0.5, 0.4, 3.0),
            Measurement("a", "peer", 5.0, 4.0, 800.0, "only half"),
            Measurement("b", "us", 0.0125, 0.01, float("nan")),
        ]
    )
    lines = text.splitlines()
    assert "0.500 s" in lines[2]
    assert "10x" in lines[3]
    assert "800 MB" in lines[3]
    assert "only half" in lines[3]
    assert "x" not in lines[4]


def test_the_command_prints_the_machine_and_the_groups_asked_for(monkeypatch, capsys, toy_group):
    monkeypatch.setattr(sys, "argv", ["speed", "toy", "--quick", "--repeats", "1"])
    command.main()
    printed = capsys.readouterr().out
    assert "torch" in printed.splitlines()[0]
    assert "A toy (quick" in printed
    assert "is not installed" in printed
    assert GROUPS["metrics"][0] not in printed


def test_unknown_group_exits_with_two(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["speed", "metrcs"])
    with pytest.raises(SystemExit, match="2"):
        command.main()
    assert "unknown group 'metrcs'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_metric_groups_run_on_small_data(monkeypatch):
    monkeypatch.setattr(speed_metrics, "_logits", lambda rows, classes: LOGITS(200, 10))
    lines = [line for name in ("metrics", "statistics") for line in GROUPS[name][1](True, 1)]
    ours = [line for line in lines if line.who == "calbench"]
    assert {line.task for line in ours} >= {"panel", "ece", "classwise-ece", "smece"}
    assert all(line.seconds > 0 for line in ours)
    assert {line.who for line in lines} >= {"netcal", "torchmetrics", "scikit-learn", "probmetrics"}


LOGITS = speed_metrics._logits.__wrapped__


def test_training_is_timed_beside_its_bare_passes(monkeypatch):
    small = engine.Network("vit-micro", {"width": 8, "heads": 1, "depth": 1, "patch": 8}, channels=3, pixels=16)
    monkeypatch.setattr(engine, "NETWORKS", {"small": small})
    monkeypatch.setattr(engine, "STEPS", 8)
    lines = list(engine.training(quick=True, repeats=1))
    assert [line.who for line in lines[:3]] == [
        "bare passes and optimiser",
        "loop, cross-entropy-brier",
        "loop, calattn",
    ]
    for line in lines[:3]:
        assert line.task == "2 steps of small"
        rate = float(line.note.removesuffix(" images a second").replace(",", ""))
        assert rate == pytest.approx(2 * 64 / line.seconds, abs=1)


def test_costs_name_every_calibrator_and_count_what_it_fits():
    names = costs.calibrator_names()
    assert names[0] == "temperature-scaling"
    assert {"tva", "spline", "matrix-scaling", "density-aware"} <= set(names)
    line = costs.cost("vector-scaling", 200, 5)
    assert line.note.startswith("10 fitted numbers; prediction can change")
    assert line.seconds >= 0
    assert line.best >= 0  # the clock of the processor may be coarse
    assert costs.cost("temperature-scaling", 200, 5).note == "1 fitted numbers; prediction kept (0.0 % changed)"
    assert costs.cost("density-aware", 200, 5).note.count("prediction kept") == 1
    stopped = costs.cost("matrix-scaling", 2000, 30, limit=0.02)
    assert math.isnan(stopped.seconds)
    assert stopped.note == "fit: over 0.02 s, stopped"
    assert costs.cost("catboost", 200, 60).note.startswith("catboost fits a tree per class")


@pytest.mark.slow
def test_the_cost_of_shifted_splits_is_compared_with_their_forward_passes(tmp_path):
    cell = engine.images_cell(engine.NETWORKS["vit-micro, 5 tokens"], tmp_path, "cross-entropy", train=50, test=40)
    lines = list(shift._Work(cell, tmp_path).lines("two splits", [("gaussian-noise", 1), ("fog", 5)]))
    assert [line.who for line in lines] == ["forward passes", "corruption", *["corruption, prediction, evaluation"] * 2]
    assert [line.note for line in lines[2:]] == list(shift.ENTRIES)
    assert all(line.seconds > 0 for line in lines)
