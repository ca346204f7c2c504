import json

import numpy as np
import pytest
import torch

from calbench.benchmark import training, work
from calbench.benchmark.errors import InputError
from calbench.benchmark.results import Results
from calbench.benchmark.store import Store


def statuses(results):
    return [cell["status"] for cell in results.run["cells"]]


def value(results, entry, metric):
    table = results.table
    return table[(table.entry == entry) & (table.metric == metric)].value.to_numpy()


def test_a_run_leaves_tables_predictions_and_its_record(tiny, run, tmp_path):
    results = run(tiny)
    assert statuses(results) == ["done", "done"]
    assert set(results.table.entry) == {"cross-entropy", "temperature-scaling", "calattn(hidden=8)"}
    assert value(results, "cross-entropy", "accuracy") == value(results, "temperature-scaling", "accuracy")
    assert value(results, "temperature-scaling", "nll") != value(results, "cross-entropy", "nll")
    loaded = Results.load(tmp_path / "results" / "tiny")
    np.testing.assert_allclose(loaded.table.value.astype(float), results.table.value.astype(float))
    assert loaded.run["baseline"] == "cross-entropy"
    assert len(loaded.diagrams) == 3
    text = (tmp_path / "results" / "tiny" / "run.json").read_text()
    assert str(tmp_path) not in text
    assert loaded.curves[0]["epochs"][1]["epoch"] == 2


def test_every_number_follows_from_the_stored_predictions(tiny, run, tmp_path):
    results = run(tiny)
    cell = next(cell for cell in results.run["cells"] if cell["recipe"] == "cross-entropy")
    part = Store(tmp_path / "results").predictions(cell["key"])["last", "test"]
    logits, labels = part.logits.double(), part.labels
    nll = torch.nn.functional.cross_entropy(logits, labels).item()
    assert value(results, "cross-entropy", "nll")[0] == pytest.approx(nll, rel=1e-6)
    accuracy = 100 * (logits.argmax(1) == labels).double().mean().item()
    assert value(results, "cross-entropy", "accuracy")[0] == pytest.approx(accuracy, rel=1e-9)


def test_a_second_run_computes_nothing(tiny, run, monkeypatch):
    first = run(tiny)
    monkeypatch.setattr(work, "produce", None)
    monkeypatch.setattr(work, "evaluate_entry", None)
    second = run(tiny)
    assert statuses(second) == ["done", "done"]
    assert first.table.equals(second.table)


def test_a_new_calibrator_or_metric_trains_nothing(tiny, run, monkeypatch):
    run(tiny)
    monkeypatch.setattr(work, "produce", None)
    results = run(tiny, settings=["protocol.metrics=[ece, ks]", "entries=[cross-entropy, vector-scaling]"])
    assert statuses(results) == ["done"]
    assert {"ks", "noise-floor"} <= set(results.table.metric)


def test_the_same_seed_gives_the_same_predictions(tiny, run, tmp_path):
    tables = [run(tiny, results_dir=tmp_path / name, entries=["mixup"]).table for name in "ab"]
    assert tables[0].equals(tables[1])


def test_training_starts_from_the_same_weights_for_every_recipe(tiny):
    from calbench.benchmark.entry import parse_entry
    from calbench.benchmark.model import build_classifier
    from calbench.benchmark.suite import load_suite

    suite = load_suite(tiny)
    models = [
        build_classifier(suite.datasets[0], suite.backbones[0], parse_entry(e).recipe, 3) for e in ("brier", "calattn")
    ]
    for first, second in zip(*(model.backbone.parameters() for model in models), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize(
    "entry", ["mixup + calattn(hidden=8)", "tempnet"], ids=["mixup-calattn", "tempnet-with-dropout"]
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


def test_a_diverged_cell_is_a_failure_with_its_reason_and_the_others_go_on(tiny, run, tmp_path):
    (tmp_path / "explode.py").write_text(
        "from dataclasses import dataclass\n"
        "from calbench.methods import Objective, register\n"
        "@register('explode')\n"
        "@dataclass\n"
        "class Explode(Objective):\n"
        "    '''nan'''\n"
        "    def loss(self, outputs, targets):\n"
        "        return outputs.logits.mean() * float('nan')\n"
    )
    from calbench.benchmark.registry import Plugin

    Plugin.load(tmp_path / "explode.py")
    results = run(tiny, entries=["explode", "cross-entropy"])
    assert sorted(statuses(results)) == ["done", "failed"]
    failed = next(cell for cell in results.run["cells"] if cell["status"] == "failed")
    assert failed["reason"] == "the training diverged: the loss is nan in epoch 1"
    assert "explode" not in set(results.table.entry)
    store = Store(tmp_path / "results")
    assert "Traceback" in store.failure(failed["key"])["traceback"]
    again = run(tiny, entries=["explode", "cross-entropy"])
    assert sorted(statuses(again)) == ["done", "failed"]


def test_failed_cells_are_tried_again_when_asked(tiny, run, tmp_path, monkeypatch):
    original = training.Trainer.train_epoch

    def broken(self):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(training.Trainer, "train_epoch", broken)
    assert statuses(run(tiny)) == ["failed", "failed"]
    monkeypatch.setattr(training.Trainer, "train_epoch", original)
    assert statuses(run(tiny)) == ["failed", "failed"]
    assert statuses(run(tiny, retry_failed=True)) == ["done", "done"]


def test_an_entry_that_cannot_be_fitted_is_a_gap_with_its_reason(tiny, run, tmp_path):
    (tmp_path / "refuse.py").write_text(
        "from dataclasses import dataclass\n"
        "from calbench.methods import Calibrator, register\n"
        "@register('refuse')\n"
        "@dataclass\n"
        "class Refuse(Calibrator):\n"
        "    '''no'''\n"
        "    def fit(self, logits, labels):\n"
        "        raise ValueError('too few samples')\n"
        "    def transform(self, logits):\n"
        "        return logits\n"
    )
    from calbench.benchmark.registry import Plugin

    Plugin.load(tmp_path / "refuse.py")
    results = run(tiny, entries=["refuse"])
    assert statuses(results) == ["failed"]
    assert "refuse: ValueError: too few samples" in results.run["cells"][0]["reason"]
    assert set(results.table.entry) == {"cross-entropy"}


def test_damaged_predictions_are_computed_again_where_they_are_needed(tiny, run, tmp_path):
    first = run(tiny)
    for cell in first.run["cells"]:
        file = tmp_path / "results" / "cache" / cell["key"] / "predictions.safetensors"
        file.write_bytes(file.read_bytes()[:100])
    second = run(tiny, settings=["protocol.bins=10"])
    assert statuses(second) == ["done", "done"]
    assert value(second, "cross-entropy", "nll") == value(first, "cross-entropy", "nll")
    assert Store(tmp_path / "results").verify() == []


def test_cache_only_computes_nothing_and_refresh_everything(tiny, run, tmp_path):
    assert statuses(run(tiny, cache="only")) == ["missing", "missing"]
    first = run(tiny)
    manifest = tmp_path / "results" / "cache" / first.run["cells"][0]["key"] / "manifest.json"
    before, written = json.loads(manifest.read_text()), manifest.stat().st_mtime_ns
    run(tiny, cache="refresh")
    assert json.loads(manifest.read_text())["predictions"] == before["predictions"]
    assert manifest.stat().st_mtime_ns > written


def test_best_checkpoints_follow_the_calibration_split(tiny, run, tmp_path):
    settings = [
        "training.epochs=5",
        "protocol.checkpoint=best-ece",
        "protocol.also_checkpoints=[last, best-accuracy, best-nll]",
    ]
    results = run(tiny, settings=settings, entries=["cross-entropy"])
    curve = results.curves[0]
    for rule, (metric, pick) in {
        "best-ece": ("ece", min),
        "best-nll": ("nll", min),
        "best-accuracy": ("accuracy", max),
    }.items():
        best = pick(epoch[metric] for epoch in curve["epochs"])
        chosen = next(epoch for epoch in curve["epochs"] if epoch["epoch"] == curve["checkpoints"][rule])
        assert chosen[metric] == best
    assert curve["checkpoints"]["last"] == 5
    assert set(results.table.checkpoint) == {"best-ece", "last", "best-accuracy", "best-nll"}


def test_the_oracle_is_a_row_where_the_truth_is_known(tiny, run):
    results = run(tiny, settings=["datasets=['overlap(train=300, test=400)']"])
    assert {"oracle-kl", "oracle-ece"} <= set(results.table.metric)
    assert value(results, "oracle", "oracle-kl")[0] == pytest.approx(0, abs=1e-9)
    assert value(results, "oracle", "accuracy")[0] > value(results, "cross-entropy", "accuracy")[0]
    assert value(results, "cross-entropy", "oracle-kl")[0] > 0.01


@pytest.mark.parametrize("precision", ["bf16"])
def test_mixed_precision_trains_on_the_cpu(tiny, run, precision):
    results = run(tiny, settings=[f"training.precision={precision}"], entries=["calattn(hidden=8)"])
    assert statuses(results) == ["done", "done"]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", ["cosine", "multistep", "constant"])
def test_learning_rates_follow_the_schedule(schedule, optimizer):
    from calbench.benchmark.optimization import make_optimizer, make_schedule
    from calbench.benchmark.training_config import TrainingConfig

    config = TrainingConfig(
        epochs=10, optimizer=optimizer, lr=1.0, schedule=schedule, milestones=(5, 8), decay_rate=0.1, warmup_epochs=2
    )
    model = torch.nn.Linear(2, 2)
    optimizer = make_optimizer(model, config)
    steps = make_schedule(optimizer, config, 4)
    rates = []
    for update in range(40):
        steps.step_update(update)
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates[0] == pytest.approx(0.01)
    assert max(rates) <= 1.0
    assert rates[:8] == sorted(rates[:8])
    expected = {
        "constant": [1.0] * 3,
        "multistep": [1.0, 0.1, 0.01],
        "cosine": [(1 + np.cos(np.pi * u / 40)) / 2 for u in (12, 24, 36)],
    }[schedule]
    np.testing.assert_allclose([rates[12], rates[24], rates[36]], expected, rtol=1e-6)


@pytest.mark.parametrize("decay_all", [False, True])
def test_weight_decay_spares_biases_and_norms_unless_told_otherwise(decay_all):
    from calbench.benchmark.optimization import make_optimizer
    from calbench.benchmark.training_config import TrainingConfig

    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    optimizer = make_optimizer(model, TrainingConfig(weight_decay=0.1, decay_all=decay_all))
    decayed = sum(p.numel() for group in optimizer.param_groups if group["weight_decay"] for p in group["params"])
    assert decayed == (10 if decay_all else 4)


def test_devices_and_optimisers_that_are_not_there(tiny, run):
    from calbench.benchmark.devices import make_devices

    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA device"):
            make_devices("cuda", "auto")
    results = run(tiny, settings=["training.optimizer=adamm"])
    assert statuses(results) == ["failed", "failed"]
    assert "adamm" in results.run["cells"][0]["reason"]


def test_a_large_batch_is_the_sum_of_its_micro_batches(tiny, run, tmp_path):
    whole = run(tiny, results_dir=tmp_path / "a", entries=["mixup"])
    parts = run(tiny, results_dir=tmp_path / "b", entries=["mixup"], settings=["training.micro_batch=50"])
    np.testing.assert_allclose(value(whole, "mixup", "nll"), value(parts, "mixup", "nll"), rtol=1e-4)


@pytest.mark.parametrize("backbone", ["vit-micro", "deit-micro", "swin-micro"])
def test_the_backbone_runs_forward_once_a_batch_with_calattn(tiny, tmp_path, backbone):
    from pathlib import Path

    from calbench.benchmark.devices import make_devices
    from calbench.benchmark.runner import RunOptions, plan_suite
    from calbench.benchmark.splits import prepare_data
    from calbench.benchmark.suite import load_suite

    suite = load_suite(tiny, settings=[f"backbones=[{backbone}]"], entries=["calattn(hidden=8)"])
    cell = plan_suite(suite, RunOptions(results_dir=str(tmp_path)))[-1].cell
    assert cell.recipe.head is not None
    trainer = training.Trainer(cell, prepare_data(cell, Path(tmp_path)), make_devices("cpu", "auto"))
    calls = {"backbone": 0, "first layer": 0}

    def count(name):
        def hook(*_):
            calls[name] += 1

        return hook

    trainer.model.backbone.register_forward_hook(count("backbone"))
    layer = next(m for m in trainer.model.backbone.modules() if isinstance(m, torch.nn.Conv2d))
    layer.register_forward_hook(count("first layer"))
    trainer.train_epoch()
    batches = len(trainer.batches)
    assert calls == {"backbone": batches, "first layer": batches}


def test_curves_go_to_tensorboard_where_it_is_asked_for(tiny, run, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    results = run(tiny, entries=["cross-entropy"], tensorboard=True)
    folder = next((tmp_path / "results" / "tensorboard").iterdir())
    events = EventAccumulator(str(folder)).Reload()
    written = [event.value for event in events.Scalars("loss")]
    assert written == pytest.approx([epoch["loss"] for epoch in results.curves[0]["epochs"]], rel=1e-6)


def test_files_of_predictions_stand_beside_trained_models(tiny, run, tmp_path):
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(400, 10, generator=generator)
    labels = torch.distributions.Categorical(logits=logits / 2.5).sample()
    np.savez(tmp_path / "mine.npz", logits=logits.numpy(), labels=labels.numpy())
    source = f"predictions=[{{path: {tmp_path}/mine.npz, dataset: digits, backbone: resnet}}]"
    results = run(tiny, settings=[source], seeds=[0, 1])
    table = results.table[results.table.backbone == "resnet"]
    assert set(table.entry) == {"cross-entropy", "temperature-scaling"}
    assert set(table.seed) == {0, 1}
    fitted = table[(table.metric == "temperature") & (table.entry == "temperature-scaling")].value
    assert fitted.between(2.0, 3.2).all()
    assert "predictions read from mine.npz" in " ".join(results.run["notes"])
    assert str(tmp_path) not in str(results.run)
    assert results.run["config"]["predictions"][0]["path"] == "mine.npz"
    with pytest.raises(InputError, match="predictions none.npz"):
        run(tiny, settings=["predictions=[{path: none.npz, dataset: digits, backbone: x}]"])


def test_paths_are_cut_to_their_last_part_and_nothing_else():
    from calbench.benchmark.record import without_paths

    given = {
        "a": ["image-folder(path=/home/me/x.d, size=8)", "/a/b", "1/2 and 3 / 4", "a / b", "~/z"],
        "n": 1,
        "/k": "x",
    }
    assert without_paths(given) == {
        "a": ["image-folder(path=x.d, size=8)", "b", "1/2 and 3 / 4", "a / b", "z"],
        "n": 1,
        "/k": "x",
    }
