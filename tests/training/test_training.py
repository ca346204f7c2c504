import dataclasses
import gc
import weakref

import numpy as np
import pytest
import torch
from fast_set import fast_only
from torch.nn.functional import one_hot

from calbench.benchmark.config.entry import parse_entry
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.data.batches import TrainBatches
from calbench.benchmark.data.splits import prepare_data
from calbench.benchmark.execution.runner import RunOptions, plan_suite
from calbench.benchmark.metrics import evaluate
from calbench.benchmark.store.store import Store
from calbench.benchmark.training import trainer as training
from calbench.benchmark.training.devices import make_devices
from calbench.benchmark.training.model import build_classifier
from calbench.methods import registry
from calbench.methods.running import StagedAugmentation, ViewAugmentation


def test_training_starts_from_the_same_weights_for_every_recipe(tiny):
    suite = load_suite(tiny)
    models = [
        build_classifier(suite.datasets[0], suite.backbones[0], parse_entry(e).recipe, 3) for e in ("brier", "calattn")
    ]
    for first, second in zip(*(model.backbone.parameters() for model in models), strict=True):
        assert torch.equal(first, second)


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


@pytest.mark.slow
def test_best_ece_follows_the_bins_of_the_protocol(tiny, run, tmp_path):
    settings = ["training.epochs=1", "protocol.checkpoint=best-ece"]
    for bins in (3, 15):
        results = run(
            tiny, results_dir=tmp_path, settings=[*settings, f"protocol.bins={bins}"], entries=["cross-entropy"]
        )
        part = Store(tmp_path).predictions(results.run["cells"][0]["key"])["best-ece", "calibration"]
        expected = evaluate(logits=part.logits, labels=part.labels, metrics=["ece"], bins=bins)["ece"]
        assert results.curves[0]["epochs"][0]["ece"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16"])
def test_mixed_precision_trains_on_the_cpu(tiny, run, precision, statuses):
    results = run(tiny, settings=[f"training.precision={precision}"], entries=["calattn(hidden=8)"])
    assert statuses(results) == ["done", "done"]


@pytest.mark.slow
def test_a_compiled_model_trains_as_the_plain_one(tiny, run, tmp_path, monkeypatch, value):
    plain = run(tiny, results_dir=tmp_path / "plain", entries=["calattn(hidden=8)"])
    compiled = []

    def traced(model):  # all of torch.compile but the generated C++, which takes a minute
        compiled.append(model)
        return compile_model(model, backend="aot_eager")

    compile_model = torch.compile
    monkeypatch.setattr(torch, "compile", traced)
    settings = ["training.compile=true"]
    again = run(tiny, results_dir=tmp_path / "compiled", entries=["calattn(hidden=8)"], settings=settings)
    assert len(compiled) == 2
    name = "calattn(hidden=8)"
    np.testing.assert_allclose(value(again, name, "nll"), value(plain, name, "nll"), rtol=1e-4)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("schedule", ["cosine", "multistep", "constant"])
def test_learning_rates_follow_the_schedule(schedule, optimizer):
    from calbench.benchmark.config.training import TrainingConfig
    from calbench.benchmark.training.optimization import make_optimizer, make_schedule

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
    from calbench.benchmark.config.training import TrainingConfig
    from calbench.benchmark.training.optimization import make_optimizer

    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    optimizer = make_optimizer(model, TrainingConfig(weight_decay=0.1, decay_all=decay_all))
    decayed = sum(p.numel() for group in optimizer.param_groups if group["weight_decay"] for p in group["params"])
    assert decayed == (10 if decay_all else 4)


def test_devices_and_optimisers_that_are_not_there(tiny, run):
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="no CUDA device"):
            make_devices("cuda", "auto")
    with pytest.raises(InputError, match=r"unknown training.optimizer 'adamm' \(did you mean 'adam"):
        run(tiny, settings=["training.optimizer=adamm"])


@pytest.mark.slow
def test_a_large_batch_is_the_sum_of_its_micro_batches(tiny, run, tmp_path, value):
    whole = run(tiny, results_dir=tmp_path / "a", entries=["mixup"])
    parts = run(tiny, results_dir=tmp_path / "b", entries=["mixup"], settings=["training.micro_batch=50"])
    np.testing.assert_allclose(value(whole, "mixup", "nll"), value(parts, "mixup", "nll"), rtol=1e-4)


@pytest.mark.parametrize("backbone", ["vit-micro", "deit-micro", "swin-micro"])
def test_the_backbone_runs_forward_once_a_batch_with_calattn(tiny, tmp_path, backbone):
    suite = load_suite(tiny, settings=[f"backbones=[{backbone}]"], entries=["calattn(hidden=8)"])
    cell = plan_suite(suite, RunOptions(results_dir=str(tmp_path)))[-1].cell
    assert cell.recipe.head is not None
    trainer = training.Trainer(cell, prepare_data(cell, tmp_path), make_devices("cpu", "auto"))
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


# Staged augmentations change stored images, which are on the CPU.
TRAINED = [n for n in registry if registry[n].kind != "calibrator" and not issubclass(registry[n], StagedAugmentation)]


ON_BACKBONES = [(name, "vit-micro(depth=1)") for name in TRAINED] + [
    (name, net)
    for name in TRAINED
    if registry[name].kind == "head"
    for net in ("deit-micro", "swin-micro", "timm:resnet10t")
]
IN_FAST_SET = [(name, net) for name, net in ON_BACKBONES if net == "vit-micro(depth=1)" or name == "calattn"]


@pytest.mark.parametrize(("name", "backbone"), fast_only(IN_FAST_SET, ON_BACKBONES))
def test_a_step_stays_on_its_device_and_never_waits_for_it(tiny, tmp_path, monkeypatch, name, backbone):
    """On torch's device without memory, a tensor left on the CPU and a value that is read are errors.

    So no GPU is needed to know that a step neither mixes devices nor makes the CPU wait for the GPU.
    """
    entry = f"tempnet + {name}" if "temperature" in registry[name].needs else name
    suite = load_suite(tiny, settings=[f"backbones=[{backbone}]"], entries=[entry])
    cell = plan_suite(suite, RunOptions(results_dir=str(tmp_path)))[-1].cell
    data = prepare_data(cell, tmp_path)
    # Autocast does not know this device.
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device: False)
    model = build_classifier(cell.dataset, cell.backbone, cell.recipe, seed=0).to("meta")
    generator = torch.Generator().manual_seed(0)
    config = dataclasses.replace(data.config, crop_padding=1, horizontal_flip=True)
    batches = TrainBatches(data.train, config, 16, augment=True, generator=generator, device="meta")
    images, targets = next(iter(batches))
    objective, combine = cell.recipe.objective, None
    for augmentation in cell.recipe.augmentations:
        if isinstance(augmentation, ViewAugmentation):
            images, combine = augmentation.views(images, targets, generator)
        else:
            images, targets = augmentation.mix(images, one_hot(targets, 10).float(), generator)
    outputs = model(images)
    loss = objective.loss(outputs, targets) if combine is None else combine(outputs, objective.loss)
    loss.backward()
    assert loss.is_meta
    head = cell.recipe.head
    if head is None or not head.own_logits:  # a head with its own classifier leaves the backbone's without a gradient
        assert all(p.grad is not None for p in model.parameters())
    assert all(p.grad.is_meta for p in model.parameters() if p.grad is not None)


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_a_finished_cell_leaves_no_model_behind(tiny, run, monkeypatch, fails, statuses):
    """accelerate keeps what it prepared: a study would end where the memory ends."""
    made = []
    init = training.Trainer.__post_init__

    def watched(self):
        init(self)
        made.append(weakref.ref(self.model))

    monkeypatch.setattr(training.Trainer, "__post_init__", watched)
    if fails:
        monkeypatch.setattr(training, "predict", None)
    assert statuses(run(tiny)) == ["failed" if fails else "done"] * 2
    gc.collect()
    assert len(made) == 2
    assert not any(model() for model in made)
