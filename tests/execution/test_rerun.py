import json

import pytest
from fast_set import slowly

from calbench.benchmark.core import environment
from calbench.benchmark.core.registry import Plugin
from calbench.benchmark.execution import evaluate, runner, work
from calbench.benchmark.store.store import Store
from calbench.benchmark.training import trainer as training


def test_a_second_run_computes_nothing(trained, tiny, run, monkeypatch, statuses):
    monkeypatch.setattr(work, "produce", None)
    monkeypatch.setattr(evaluate, "evaluate_entry", None)
    second = run(tiny)
    assert statuses(second) == ["done", "done"]
    assert trained.table.equals(second.table)


def test_a_new_calibrator_or_metric_trains_nothing(trained, tiny, run, monkeypatch, statuses):
    monkeypatch.setattr(work, "produce", None)
    results = run(tiny, settings=["protocol.metrics=[ece, ks]", "entries=[cross-entropy, vector-scaling]"])
    assert statuses(results) == ["done"]
    assert {"ks", "noise-floor"} <= set(results.table.metric)


@pytest.mark.slow
@pytest.mark.parametrize(
    "entry",
    ["mixup + calattn(hidden=8)", "tempnet"],
    ids=["mixup-calattn", "tempnet-with-dropout"],
)
def test_an_interrupted_cell_goes_on_with_the_same_result(tiny, run, tmp_path, monkeypatch, entry):
    settings = [
        "training.epochs=4",
        "training.save_seconds=0",
        "training.ema=0.9",
        "training.warmup_epochs=1",
        "protocol.checkpoint=best-nll",
        "protocol.also_checkpoints=[last]",
    ]
    whole = run(tiny, results_dir=tmp_path / "whole", settings=settings, entries=[entry])
    trained = []
    original = training.Trainer.train_epoch

    def counted(self):
        if len(trained) == 5:  # two cells of four epochs: in the middle of the second
            trained.append(None)
            raise KeyboardInterrupt
        trained.append(self.epoch)
        original(self)

    monkeypatch.setattr(training.Trainer, "train_epoch", counted)
    with pytest.raises(KeyboardInterrupt):
        run(tiny, results_dir=tmp_path / "cut", settings=settings, entries=[entry])
    resumed = run(tiny, results_dir=tmp_path / "cut", settings=settings, entries=[entry])
    assert trained == [0, 1, 2, 3, 0, None, 1, 2, 3]
    assert whole.table.equals(resumed.table)
    assert whole.curves == resumed.curves


def test_failed_cells_are_tried_again_when_asked(tiny, run, tmp_path, monkeypatch, statuses):
    original = training.Trainer.train_epoch

    def broken(self):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(training.Trainer, "train_epoch", broken)
    assert statuses(run(tiny)) == ["failed", "failed"]
    monkeypatch.setattr(training.Trainer, "train_epoch", original)
    assert statuses(run(tiny)) == ["failed", "failed"]
    assert statuses(run(tiny, retry_failed=True)) == ["done", "done"]


@pytest.mark.slow
def test_damaged_predictions_are_computed_again_where_they_are_needed(trained, tiny, run, tmp_path, statuses, value):
    first = trained
    for cell in first.run["cells"]:
        file = tmp_path / "results" / "cache" / cell["key"] / "predictions.safetensors"
        file.write_bytes(file.read_bytes()[:100])
    second = run(tiny, settings=["protocol.bins=10"])
    assert statuses(second) == ["done", "done"]
    assert value(second, "cross-entropy", "nll") == value(first, "cross-entropy", "nll")
    assert Store(tmp_path / "results").verify() == []


@pytest.mark.slow
def test_cache_only_computes_nothing_and_refresh_everything(tiny, run, tmp_path, statuses):
    assert statuses(run(tiny, cache="only")) == ["missing", "missing"]
    first = run(tiny)
    manifest = tmp_path / "results" / "cache" / first.run["cells"][0]["key"] / "manifest.json"
    before, written = json.loads(manifest.read_text()), manifest.stat().st_mtime_ns
    run(tiny, cache="refresh")
    assert json.loads(manifest.read_text())["predictions"] == before["predictions"]
    assert manifest.stat().st_mtime_ns > written


def test_results_of_the_same_inputs_stand(trained, tiny, run, tmp_path, monkeypatch):
    first = trained
    record = (tmp_path / "results" / "tiny" / "run.json").read_bytes()
    collected = []
    collect = runner.collect
    monkeypatch.setattr(runner, "collect", lambda *arguments: collected.append(1) or collect(*arguments))
    assert run(tiny).run == first.run
    assert not collected
    assert (tmp_path / "results" / "tiny" / "run.json").read_bytes() == record


@pytest.mark.parametrize("change", ["baseline", "truncated", *slowly("title", "code", "failed")])
def test_results_of_other_inputs_are_collected_again(trained, tiny, run, tmp_path, monkeypatch, change):
    first = trained
    collected, settings = [], []
    collect = runner.collect
    monkeypatch.setattr(runner, "collect", lambda *arguments: collected.append(1) or collect(*arguments))
    if change == "title":
        settings = ["title=Another"]
    elif change == "baseline":
        settings = ["baseline=temperature-scaling"]
    elif change == "code":
        monkeypatch.setattr(environment, "code_digest", lambda: "other")
    elif change == "truncated":
        path = tmp_path / "results" / "tiny" / "diagrams.json"
        path.write_bytes(path.read_bytes()[:-5])
    else:
        key = first.run["cells"][0]["key"]
        store = Store(tmp_path / "results")
        store.folder.remove(f"cache/{key}")
        store.write_failure(key, {"reason": "out of luck"})
    again = run(tiny, settings=settings)
    assert collected
    if change == "title":
        assert again.run["title"] == "Another"
    if change == "baseline":
        assert again.run["baseline"] == "temperature-scaling"
    if change == "failed":
        assert again.run["cells"][0]["reason"] == "out of luck"


METRIC = """\
from dataclasses import dataclass
import numpy as np
from calbench.benchmark.metrics import Metric, register

@register("always")
@dataclass
class Always(Metric):
    '''A constant.'''

    def values(self, view):
        return np.full_like(view.mean(view.sample.confidence), VALUE)
"""


@pytest.mark.slow
def test_an_edited_metric_is_taken_again_and_nothing_is_trained(tiny, run, tmp_path, monkeypatch, value, forgotten):
    path, settings = tmp_path / "always.py", ["protocol.metrics=[ece, always]"]
    for number in ("1.0", "2.0"):
        path.write_text(METRIC.replace("VALUE", number))
        Plugin.load(path)
        results = run(tiny, settings=settings)
        assert list(value(results, "cross-entropy", "always")) == [float(number)]
        monkeypatch.setattr(work, "produce", None)


@pytest.mark.slow
def test_a_noise_floor_that_is_asked_for_is_there_once(tiny, run, value):
    results = run(tiny, settings=["protocol.metrics=[ece, noise-floor, noise-floor-95]"])
    assert len(value(results, "cross-entropy", "noise-floor")) == 1
    assert len(value(results, "cross-entropy", "noise-floor-95")) == 1


@pytest.mark.slow
def test_a_damaged_evaluation_is_made_again_in_the_same_run(trained, tiny, run, tmp_path, monkeypatch, statuses, value):
    first = trained
    key = first.run["cells"][0]["key"]
    for file in (tmp_path / "results" / "cache" / key).glob("evaluation-*"):
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    (tmp_path / "results" / "tiny" / "run.json").unlink()
    monkeypatch.setattr(work, "produce", None)
    again = run(tiny, cache="only")
    assert statuses(again) == ["to evaluate", "done"]
    (tmp_path / "results" / "tiny" / "run.json").unlink()
    again = run(tiny)
    assert statuses(again) == ["done", "done"]
    assert again.table.equals(first.table)
    assert Store(tmp_path / "results").verify() == []


def test_a_cell_of_a_newer_version_is_a_gap_and_stays_as_it_is(trained, tiny, run, tmp_path, statuses):
    key = trained.run["cells"][0]["key"]
    file = tmp_path / "results" / "cache" / key / "manifest.json"
    newer = json.dumps(json.loads(file.read_text()) | {"format": 99})
    file.write_text(newer)
    results = run(tiny, entries=["vector-scaling"])
    assert statuses(results) == ["failed"]
    assert "a newer calbench wrote it" in results.run["cells"][0]["reason"]
    assert file.read_text() == newer


FLAKY = """\
from dataclasses import dataclass
from pathlib import Path
from calbench.methods import Calibrator, register

@register("flaky")
@dataclass
class Flaky(Calibrator):
    '''Fails until the file of its option is there.'''

    marker: str = ""

    def fit(self, logits, labels):
        if not Path(self.marker).exists():
            raise MemoryError("no memory left")
        return self

    def transform(self, logits):
        return logits
"""


@pytest.mark.slow
def test_a_failed_calibrator_says_why_and_is_tried_again_when_asked(tiny, run, tmp_path, statuses, forgotten):
    plugin, marker = tmp_path / "flaky.py", tmp_path / "marker"
    plugin.write_text(FLAKY)
    Plugin.load(plugin)
    entries = ["cross-entropy", f"flaky(marker={marker})"]
    first = run(tiny, entries=entries)
    assert statuses(first) == ["failed"]
    assert "MemoryError: no memory left" in first.run["cells"][0]["reason"]
    [record] = (tmp_path / "results" / "cache").glob("*/evaluation-*.failure.json")
    assert "in fit" in json.loads(record.read_text())["traceback"]
    marker.touch()
    assert statuses(run(tiny, entries=entries)) == ["failed"]
    assert statuses(run(tiny, entries=entries, retry_failed=True)) == ["done"]
    assert not record.exists()
