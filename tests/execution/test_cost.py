"""What a plan will cost: from finished cells, or from a probe of a few steps."""

import re
from collections import Counter
from pathlib import Path

import pytest

from calbench.benchmark import backbones
from calbench.benchmark.backbones import _weights as weights
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.execution.cost import SAMPLED, Cost, Estimate
from calbench.benchmark.execution.probe import probe_cell
from calbench.benchmark.execution.runner import RunOptions, Status, plan_suite, status
from calbench.benchmark.store.store import Store
from calbench.datasets import registry as datasets


@pytest.mark.slow
def test_a_probe_tells_the_bytes_and_scales_with_the_epochs(tiny, run, tmp_path):
    suite = load_suite(tiny, entries=["calattn(hidden=8)"])
    work = plan_suite(suite, RunOptions(results_dir=str(tmp_path)))[-1]
    cost = probe_cell(work, Path(tmp_path), "cpu")
    results = run(tiny, entries=["calattn(hidden=8)"])
    key = next(cell["key"] for cell in results.run["cells"] if "calattn" in cell["recipe"])
    assert key == work.cell.key
    written = Store(tmp_path / "results").manifest(key)["predictions"]["bytes"]
    assert cost.bytes == pytest.approx(written, rel=0.15)
    long = load_suite(tiny, entries=["calattn(hidden=8)"], settings=["training.epochs=2000"])
    many = probe_cell(plan_suite(long, RunOptions(results_dir=str(tmp_path)))[-1], Path(tmp_path), "cpu")
    assert many.seconds > 20 * cost.seconds > 0
    assert many.bytes == cost.bytes


def test_what_is_known_goes_before_a_probe_and_a_probe_is_asked_once_a_kind(tiny, run, tmp_path):
    run(tiny, entries=["cross-entropy"])
    suite = load_suite(
        tiny, settings=["backbones=['vit-micro(depth=1, width=16, heads=2)', 'vit-micro(depth=1)']"], seeds=[0, 1, 2]
    )
    options = RunOptions(results_dir=str(tmp_path / "results"))
    asked = []

    def probe(work):
        asked.append(work.cell.backbone.spelled())
        return Cost(1000.0, 5e6)

    plan = plan_suite(suite, options)
    found = status(plan, suite, Store(options.results_dir), options, probe)
    assert asked == ["vit-micro(depth=1)"]
    unknown = sum("vit-micro(depth=1)" in work.cell.describe() for work in plan)
    assert 1000 * unknown < found.cost.seconds < 1000 * unknown + 500
    assert re.search(r"about 77 min to 2\.2 h of one process to go, then evaluation and tables", found.line())
    assert "MB to write" in found.line()
    without = status(plan, suite, Store(options.results_dir), options)
    assert without.cost.seconds < 500  # the mean of the kinds that are known


def test_a_small_network_is_timed_on_the_batch_that_it_trains_on(tiny, tmp_path, monkeypatch):
    from calbench.benchmark.execution import probe

    sizes, original = [], probe._random_batch
    monkeypatch.setattr(probe, "_random_batch", lambda cell, size, on: sizes.append(size) or original(cell, size, on))
    work = plan_suite(load_suite(tiny), RunOptions(results_dir=str(tmp_path)))[0]
    monkeypatch.setattr(probe, "LONG_STEP", float("inf"))
    probe_cell(work, Path(tmp_path), "cpu")
    monkeypatch.setattr(probe, "LONG_STEP", 0.0)
    probe_cell(work, Path(tmp_path), "cpu")
    batch = work.cell.training.batch_size
    assert sizes == [probe.CPU_PROBE, batch, probe.CPU_PROBE]


def test_an_estimate_beyond_all_bounds_is_one_number():
    assert " more than 100 h of one process" in Status(Counter(done=1), [], Cost(1e9, 1.0)).line()


@pytest.mark.slow
def test_cells_that_are_only_evaluated_are_not_counted_as_training(tiny, run, tmp_path):
    run(tiny, entries=["cross-entropy"])
    suite = load_suite(tiny, entries=["vector-scaling"])
    options = RunOptions(results_dir=str(tmp_path / "results"))
    found = status(plan_suite(suite, options), suite, Store(options.results_dir), options)
    assert "to evaluate" in found.line()
    assert found.cost is None


def test_nothing_known_is_nothing_said(tiny, tmp_path):
    suite = load_suite(tiny)
    options = RunOptions(results_dir=str(tmp_path))
    found = status(plan_suite(suite, options), suite, Store(tmp_path), options)
    assert found.cost is None
    assert "about" not in found.line()


@pytest.mark.slow
def test_manifests_are_read_up_to_a_limit(tiny, run, tmp_path):
    results = run(tiny, entries=["cross-entropy"])
    [work] = [w for w in plan_suite(load_suite(tiny), RunOptions()) if w.cell.key == results.run["cells"][0]["key"]]
    estimate = Estimate()
    for _ in range(SAMPLED + 10):
        estimate.sample(work, Store(tmp_path / "results"))
    assert [len(costs) for costs in estimate.known.values()] == [SAMPLED]


def test_a_network_is_timed_at_its_own_input_size_and_needs_no_weights(monkeypatch):
    monkeypatch.setattr(weights, "create_model", None)
    dataset = datasets.create("cifar10")
    backbone = backbones.create("vit-b16-224")
    plain = backbone.without_weights(dataset)
    assert not plain.pretrained
    assert plain.data_config(dataset).image_size == backbone.data_config(dataset).image_size == 224
    micro = backbones.create("vit-micro")
    assert micro.without_weights(dataset) is micro


@pytest.mark.parametrize("name", ["digits", "overlap(train=700, test=40)"])
def test_sizes_are_those_that_are_loaded(name, tmp_path):
    from calbench.benchmark.config.terms import make_component

    dataset = make_component(name, datasets.create)
    splits = dataset.load(tmp_path)
    assert dataset.num_samples(tmp_path) == (len(splits.train), len(splits.test))


def test_a_probe_reads_the_home_folder_and_makes_none_of_that_name(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    work, asked = plan_suite(load_suite(tiny), RunOptions(results_dir=str(tmp_path)))[0], []
    monkeypatch.setattr(type(work.cell.dataset), "num_samples", lambda self, root: asked.append(root) or (200, 50))
    probe_cell(work, Path("~/data"), "cpu")
    assert asked == [tmp_path / "home" / "data"]
