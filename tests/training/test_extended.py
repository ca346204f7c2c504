"""Recipes that act on a whole run: losses with a state, several views, procedures."""

import numpy as np
import pytest
import torch
from fast_set import slowly

from calbench.benchmark.config.entry import parse_entry
from calbench.benchmark.config.suite import load_suite
from calbench.benchmark.core.errors import CellError, InputError
from calbench.benchmark.data.splits import prepare_data
from calbench.benchmark.execution.runner import RunOptions, plan_suite
from calbench.benchmark.training.devices import make_devices
from calbench.benchmark.training.extended import ExtendedTrainer, _Staged
from calbench.benchmark.training.model import Classifier
from calbench.benchmark.training.trainer import Trainer
from calbench.methods import Representation, registry
from calbench.methods.running import Extended

EXTENDED = [n for n in registry if issubclass(registry[n], Extended) and registry[n].__module__.startswith("calbench.")]


def trainer_of(tiny, tmp_path, entry, *settings, kind=ExtendedTrainer):
    suite = load_suite(tiny, entries=[entry], settings=list(settings))
    plan = plan_suite(suite, RunOptions(results_dir=str(tmp_path), jobs=1))
    cell = next(work.cell for work in plan if work.cell.recipe.name == suite.entries[-1].recipe.name)
    return kind(cell, prepare_data(cell, tmp_path), make_devices("cpu", "float32"))


def trained(trainer, epochs):
    while trainer.epoch < epochs:
        trainer.train_epoch()
    return trainer.predictions(trainer.weights())["last", "test"].logits


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n == "augmix")) for n in EXTENDED])
@pytest.mark.slow
def test_it_trains_and_goes_on_from_a_saved_state_bit_for_bit(name, tiny, tmp_path):
    settings = ["training.epochs=2"]
    trainer = trainer_of(tiny, tmp_path, name, *settings)
    trainer.train_epoch()
    saved = trainer.state()
    expected = trained(trainer, 2)
    assert torch.isfinite(expected).all()
    resumed = trainer_of(tiny, tmp_path, name, *settings)
    resumed.restore(saved)
    assert resumed.epoch == 1
    assert torch.equal(trained(resumed, 2), expected)


@pytest.mark.parametrize("entry", ["reg-mixup", "calattn(hidden=8)", *slowly("cross-entropy", "focal", "mixup")])
def test_what_has_no_state_is_trained_as_by_the_plain_trainer(entry, tiny, tmp_path):
    logits = [trained(trainer_of(tiny, tmp_path, entry, kind=kind), 2) for kind in (Trainer, ExtendedTrainer)]
    assert torch.equal(*logits)


def test_only_such_recipes_have_the_extended_code_in_their_key(tiny, tmp_path):
    def code(entry):
        return trainer_of(tiny, tmp_path, entry, kind=lambda cell, *_: cell).code

    assert code("focal") == code("mixup") == code("cross-entropy")
    assert code("sam") == code("crl") != code("focal")


def test_batches_know_their_samples(tiny, tmp_path):
    trainer = trainer_of(tiny, tmp_path, "crl", "training.augment=true")
    trainer.generator.manual_seed(4)
    seen = []
    for _, labels in trainer.batches:
        samples = trainer.numbered.samples
        assert torch.equal(trainer.data.train.labels[samples], labels)
        seen.append(samples)
    assert torch.equal(torch.cat(seen).sort().values, torch.arange(len(trainer.data.train)))


def test_crl_counts_the_correct_predictions_of_training(tiny, tmp_path):
    trainer = trainer_of(tiny, tmp_path, "crl", "training.epochs=2")
    trainer.train_epoch()
    counts = trainer.loss_state.correct
    assert set(counts.tolist()) <= {0, 1}
    assert 0.05 < counts.double().mean() < 1
    assert trainer.loss_state.epochs == 0 or trainer.loss_state.epochs == 1


@pytest.mark.slow
def test_a_network_learns_by_the_evidential_loss(tiny, run):
    results = run(tiny, entries=["evidential", "evidential + temperature-scaling"], settings=["training.epochs=8"])
    table = results.table[results.table.split == "test"].set_index(["entry", "metric"]).value
    assert table["evidential", "accuracy"] > 50  # of ten classes
    assert 0 < table["evidential + temperature-scaling", "nll"] < table["evidential", "nll"] < 2.3


@pytest.mark.slow
def test_a_loss_that_reads_the_calibration_split_is_named_above_the_tables(tinier, run):
    results = run(tinier, entries=["ada-focal", "cals-alm + temperature-scaling", "crl"])
    text = " ".join(results.run["protocol_text"])
    assert "ada-focal and cals-alm read the calibration split" in text
    assert "crl" not in text.replace("cross-entropy", "")


def test_the_calibration_split_moves_gamma(tiny, tmp_path):
    trainer = trainer_of(tiny, tmp_path, "ada-focal", "training.epochs=3")
    trainer.train_epoch()
    gammas, edges = trainer.loss_state.gammas, trainer.loss_state.edges
    logits, labels = trainer._calibration()
    confidence, predicted = logits.double().softmax(1).max(1)
    order = confidence.argsort()
    first = order[: len(order) // 15]
    gap = float(confidence[first].mean() - (predicted == labels)[first].double().mean())
    assert float(gammas[0]) == pytest.approx(np.exp(gap))
    assert (edges.diff() >= 0).all()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("crl + mixup", "soft targets"),
        ("mit-l + crl", "several outputs"),
        ("mixup + mit-l", "cannot follow"),
        ("augmix + rand-augment", "stored images"),
        ("mit-l + tempnet", "several outputs"),
    ],
)
def test_combinations_that_cannot_work_are_refused(entry, reason):
    with pytest.raises(InputError, match=reason):
        parse_entry(entry)


def test_staged_augmentations_need_eight_bit_images():
    staged = _Staged(registry.create("rand-augment"), lambda images: images, torch.Generator())
    with pytest.raises(CellError, match="8-bit images"):
        staged(torch.zeros(2, 3, 8, 8))


class Normed(torch.nn.Module):
    """A network with batch norm, which the tiny suite's has not."""

    def __init__(self):
        super().__init__()
        self.features = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.LazyLinear(16), torch.nn.BatchNorm1d(16), torch.nn.ReLU()
        )
        self.features(torch.zeros(2, 1, 8, 8))
        self.classifier = torch.nn.Linear(16, 10)

    def forward(self, images):
        features = self.features(images)
        return Representation(self.classifier(features), features)


def test_swa_averages_the_last_epochs_at_a_constant_rate(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("calbench.benchmark.training.trainer.build_classifier", lambda *_: Classifier(Normed(), None))
    trainer = trainer_of(tiny, tmp_path, "swa(start_at=0.5, lr=0.3)", "training.epochs=4")
    weights, rates = [], []
    while trainer.epoch < 4:
        trainer.train_epoch()
        weights.append({n: p.detach().clone() for n, p in trainer.model.named_parameters()})
        rates.append(trainer.optimizer.param_groups[0]["lr"])
    averaged = dict(trainer.evaluated.named_parameters())
    for name, value in averaged.items():
        torch.testing.assert_close(value.detach(), (weights[2][name] + weights[3][name]) / 2)
    assert rates[2:] == [0.3 * trainer.cell.training.lr] * 2
    assert rates[1] != rates[2]
    # Batch norm belongs to the averaged weights: the mean over the training batches, each counted once.
    norm = next(m for m in trainer.evaluated.modules() if isinstance(m, torch.nn.BatchNorm1d))
    before = norm.running_mean.clone()
    trainer.weights()
    assert not torch.equal(norm.running_mean, before)
    assert int(norm.num_batches_tracked) == len(trainer.batches)


def test_sam_takes_the_gradient_at_the_worst_point_nearby():
    model = torch.nn.Linear(3, 2).double()
    images, labels = torch.randn(8, 3).double(), torch.randint(2, (8,))

    def loss_at(weights):
        named = dict(zip(["weight", "bias"], weights, strict=True))
        return torch.nn.functional.cross_entropy(torch.func.functional_call(model, named, images), labels)

    point = [p.detach().clone().requires_grad_() for p in model.parameters()]
    gradient = torch.autograd.grad(loss_at(point), point)
    length = torch.cat([g.flatten() for g in gradient]).norm()
    worst = [(p + 0.1 * g / length).detach().requires_grad_() for p, g in zip(point, gradient, strict=True)]
    expected = torch.autograd.grad(loss_at(worst), worst)

    def compute():
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        return loss.detach()

    state = registry.create("sam", rho=0.1).start(None)
    loss = state.gradients(model, compute)
    assert float(loss) == pytest.approx(loss_at(point).item())
    for parameter, value, before in zip(model.parameters(), expected, point, strict=True):
        torch.testing.assert_close(parameter.grad, value)
        assert torch.equal(parameter.detach(), before.detach())


def test_sam_updates_batch_norm_once():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    images, labels = torch.randn(8, 3), torch.randint(2, (8,))
    once = torch.nn.BatchNorm1d(4)
    once(model[0](images))

    def compute():
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        return loss.detach()

    registry.create("sam").start(None).gradients(model, compute)
    torch.testing.assert_close(model[1].running_mean, once.running_mean)
    assert int(model[1].num_batches_tracked) == 1
    assert model[1].momentum == 0.1
