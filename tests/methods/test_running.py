"""Formulas of losses with a state and of augmentations with several views, in plain Python."""

import math

import pytest
import torch
from torch.distributions import Dirichlet, kl_divergence

from calbench.methods import Outputs, registry
from calbench.methods.running import Run

RUN = Run(num_samples=6, num_classes=4, epochs=30, updates_per_epoch=1, learning_rate=0.1)


def softmax(z):
    weights = [math.exp(a - max(z)) for a in z]
    return [w / sum(weights) for w in weights]


def test_evidential_adds_the_divergence_of_the_evidence_for_other_classes(batch):
    logits, labels = batch
    state = registry.create("evidential", weight=0.8, annealing=4).start(RUN)
    first = state.loss(Outputs(logits, logits), labels, torch.arange(6))
    state.end_epoch(3, None)
    again = registry.create("evidential", weight=0.8, annealing=4).start(RUN)
    again.load(state.tensors())
    added = float(again.loss(Outputs(logits, logits), labels, torch.arange(6)) - first)
    uniform, divergences = Dirichlet(torch.ones(4, dtype=torch.float64)), []
    for row, label in zip(logits.exp(), labels, strict=True):
        alpha = row.clone()
        alpha[label] = 1
        divergences.append(float(kl_divergence(Dirichlet(alpha), uniform)))
    assert added == pytest.approx(0.8 * 3 / 4 * sum(divergences) / 6, rel=1e-10)
    state.end_epoch(30, None)
    last = float(state.loss(Outputs(logits, logits), labels, torch.arange(6)) - first)
    assert last == pytest.approx(0.8 * sum(divergences) / 6, rel=1e-10)
    wild = torch.tensor([[1e4, 0, 0, -1e4]], requires_grad=True)
    state.loss(Outputs(wild, wild), labels[:1], torch.arange(1)).backward()
    assert wild.grad.isfinite().all()


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(2)
    return 3 * torch.randn(6, 4, generator=generator, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1])


def test_crl_ranks_neighbours_by_how_often_they_were_correct(batch):
    logits, labels = batch
    state = registry.create("crl", weight=0.7).start(RUN)
    samples = torch.tensor([5, 3, 0, 1, 2, 4])
    history = [4, 1, 1, 3, 2, 4]  # by sample number, after 5 epochs
    state.load({"correct": torch.tensor(history), "epochs": torch.tensor(5)})
    loss = state.loss(Outputs(logits, logits), labels, samples)
    p = [softmax(z) for z in logits.tolist()]
    c = [(history[s] - 1) / (5 - 1) for s in samples.tolist()]
    q = [max(row) for row in p]
    expected = -sum(math.log(row[y]) for row, y in zip(p, labels.tolist(), strict=True)) / 6
    for i in range(6):
        j = (i + 1) % 6
        sign = (c[i] > c[j]) - (c[i] < c[j])
        expected += 0.7 / 6 * (max(0.0, abs(c[i] - c[j]) - sign * (q[i] - q[j])) if sign else 0.0)
    assert float(loss) == pytest.approx(expected)


def test_crl_is_finite_where_every_sample_was_always_correct(batch):
    logits, labels = batch
    state = registry.create("crl").start(RUN)
    state.load({"correct": torch.full((6,), 3), "epochs": torch.tensor(3)})
    plain = registry.create("cross-entropy").loss(Outputs(logits, logits), labels)
    torch.testing.assert_close(state.loss(Outputs(logits, logits), labels, torch.arange(6)), plain)


def test_ada_focal_has_a_gamma_per_bin_of_the_labels_probability(batch):
    logits, labels = batch
    state = registry.create("ada-focal", bins=3).start(RUN)
    gammas, edges = [2.5, -1.5, 4.0], [0.2, 0.6]
    state.load({"gammas": torch.tensor(gammas).double(), "edges": torch.tensor(edges).double()})
    expected = 0.0
    for z, y in zip(logits.tolist(), labels.tolist(), strict=True):
        p = softmax(z)[y]
        gamma = gammas[sum(p >= edge for edge in edges)]
        expected += -((1 - p) ** gamma if gamma > 0 else (1 + p) ** -gamma) * math.log(p) / 6
    loss = state.loss(Outputs(logits, logits), labels, torch.arange(6))
    assert float(loss) == pytest.approx(expected)


def test_ada_focal_moves_gamma_by_the_gap_of_its_bin_and_changes_sign():
    state = registry.create("ada-focal", bins=2, rate=2.0).start(RUN)
    state.load({"gammas": torch.tensor([1.0, -0.21]).double(), "edges": torch.tensor([0.5]).double()})
    confidence = torch.tensor([0.55, 0.6, 0.7, 0.9]).double()
    logits = torch.stack([confidence.log(), (1 - confidence).log()], dim=1)
    labels = torch.tensor([1, 0, 0, 1])  # correct: no, yes, yes, no
    state.end_epoch(1, (logits, labels))
    assert float(state.gammas[0]) == pytest.approx(math.exp(2 * ((0.55 + 0.6) / 2 - 0.5)))
    # -0.21 exp(-2 (0.8 - 0.5)) is above -0.2, so that gamma becomes 0.2.
    assert float(state.gammas[1]) == pytest.approx(0.2)
    assert state.edges.tolist() == pytest.approx([0.7])
    state.end_epoch(2, (logits, labels))
    assert float(state.gammas[1]) == pytest.approx(0.2 * math.exp(2 * 0.3))
    for _ in range(60):
        state.end_epoch(3, (logits, labels))
    assert float(state.gammas.max()) <= 20


def penalty(h, multiplier, rho):
    return (max(0.0, multiplier + rho * h) ** 2 - multiplier**2) / (2 * rho)


def test_cals_penalises_large_margins_class_by_class(batch):
    logits, labels = batch
    state = registry.create("cals-alm", margin=2.0).start(RUN)
    multipliers, rho = [0.1, 0.5, 1e-6, 2.0], [1.0, 1.2, 1.44, 1.0]
    state.load({"multipliers": torch.tensor(multipliers).double(), "rho": torch.tensor(rho).double(),
                "before": torch.zeros(4).double()})  # fmt: skip
    expected = 0.0
    for z, y in zip(logits.tolist(), labels.tolist(), strict=True):
        expected += -math.log(softmax(z)[y]) / 6
        for k in range(4):
            expected += penalty((max(z) - z[k]) / 2 - 1, multipliers[k], rho[k]) / 24
    assert float(state.loss(Outputs(logits, logits), labels, torch.arange(6))) == pytest.approx(expected)


def test_cals_multipliers_follow_the_calibration_split():
    state = registry.create("cals-alm", margin=2.0).start(RUN)
    logits = torch.tensor([[5.0, 0.0, 4.0, 3.9], [1.0, 0.0, 4.0, 3.0]])
    state.end_epoch(1, (logits, torch.tensor([0, 2])))
    rows = [[(max(z) - a) / 2 - 1 for a in z] for z in logits.tolist()]
    expected = [sum(max(1e-6, 1e-6 + row[k]) for row in rows) / 2 for k in range(4)]
    assert state.multipliers.tolist() == pytest.approx(expected)
    assert state.rho.tolist() == [1.0] * 4
    state.end_epoch(10, (logits, torch.tensor([0, 2])))  # nothing shrank: rho grows where the constraint is violated
    violated = [sum(row[k] for row in rows) > 0 for k in range(4)]
    assert state.rho.tolist() == pytest.approx([1.2 if bad else 1.0 for bad in violated])


def test_mit_decodes_a_linear_network_exactly():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 6, generator=generator, dtype=torch.float64)
    images = torch.randn(5, 1, 2, 3, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0])
    mixed, combine = registry.create("mit-l").views(images, labels, generator)
    assert mixed.shape == (10, 1, 2, 3)
    logits = mixed.flatten(1) @ weight.T
    plain = images.flatten(1) @ weight.T
    seen = []

    def loss(outputs, targets):
        seen.append((outputs.logits, targets))
        return torch.nn.functional.cross_entropy(outputs.logits, targets)

    value = combine(Outputs(logits, logits), loss)
    torch.testing.assert_close(seen[0][0], plain)
    torch.testing.assert_close(seen[1][0].sort(dim=0).values, plain.sort(dim=0).values)  # the partners: a permutation
    torch.testing.assert_close(value, torch.nn.functional.cross_entropy(plain, labels))


def test_mit_weights_are_apart():
    method, generator = registry.create("mit-l", margin=0.6, alpha=1.0), torch.Generator().manual_seed(1)
    for _ in range(200):
        a, b = method._weights(generator)
        assert 0 <= b <= 0.5 <= a <= 1
        assert a - b >= 0.6


def test_augmix_adds_the_divergence_of_three_predictions():
    logits = 2 * torch.randn(9, 4, dtype=torch.float64)
    labels = torch.tensor([0, 3, 1])
    _, combine = registry.create("augmix", weight=5.0).views(torch.zeros(9, 3, 4, 4), labels, torch.Generator())
    loss = combine(Outputs(logits, logits), lambda o, t: torch.nn.functional.cross_entropy(o.logits, t))
    rows = [softmax(z) for z in logits.tolist()]
    expected = -sum(math.log(rows[i][y]) for i, y in enumerate(labels.tolist())) / 3
    for i in range(3):
        views = [rows[i], rows[i + 3], rows[i + 6]]
        mean = [sum(p[k] for p in views) / 3 for k in range(4)]
        divergence = sum(p[k] * math.log(p[k] / mean[k]) for p in views for k in range(4)) / 3
        expected += 5 * divergence / 3
    assert float(loss) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["augmix", "rand-augment"])
@pytest.mark.parametrize("channels", [1, 3])
def test_staged_augmentations_change_images_by_the_generator_only(name, channels):
    images = torch.randint(256, (6, channels, 12, 12), dtype=torch.uint8)
    method = registry.create(name)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    shared = torch.Generator().manual_seed(1)
    first = method.augment(images, shared)
    assert torch.equal(before, torch.get_rng_state())
    assert first.dtype == torch.uint8
    assert first.shape == (6 * method.passes, channels, 12, 12)
    assert torch.equal(first, method.augment(images, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, method.augment(images, shared))
    assert not torch.equal(first[-6:], images)
