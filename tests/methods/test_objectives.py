import math

import pytest
import torch
from torch.autograd import gradcheck
from torch.nn.functional import one_hot

from calbench.benchmark.core.errors import InputError
from calbench.methods import Outputs, registry

OBJECTIVES = [n for n in registry if registry[n].kind == "objective" and registry[n].__module__.startswith("calbench.")]
SOFT = [n for n in OBJECTIVES if registry.create(n).takes_soft_targets]
HARD = [n for n in OBJECTIVES if n not in SOFT]
K = 5


def outputs_of(raw, temperature):
    """What a head that divides by `temperature` gives the loss."""
    return Outputs(raw / temperature[:, None], raw, temperature)


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(3)
    raw = 3 * torch.randn(12, K, generator=generator, dtype=torch.float64)
    temperature = 0.5 + torch.rand(12, generator=generator, dtype=torch.float64)
    labels = torch.randint(K, (12,), generator=generator)
    labels[:4] = raw[:4].argmax(dim=1)
    soft = torch.softmax(torch.randn(12, K, generator=generator, dtype=torch.float64), dim=1)
    return raw, temperature, labels, soft


# Each formula as DEFINITIONS prints it: one sample, class y, probabilities p; plain Python, no vectorising.
def focal_with(gamma):
    return lambda p, y: -((1 - p[y]) ** gamma(p[y])) * math.log(p[y])


def dual_focal(p, y):
    below = max((q for q in p if q < p[y]), default=0)
    return -((1 - p[y] + below) ** 5) * math.log(p[y])


def dual_focal_calattn(p, y):
    rival = max(q for k, q in enumerate(p) if k != y)
    return -((1 - p[y]) ** 2) * math.log(p[y]) - rival**2 * math.log(1 - rival)


PER_SAMPLE = {
    "cross-entropy": lambda p, y: -math.log(p[y]),
    "focal": focal_with(lambda q: 3),
    "focal-flsd53": focal_with(lambda q: 5 if q < 0.2 else 3),
    "focal-flsd53-calattn": focal_with(lambda q: 5),
    "dual-focal": dual_focal,
    "dual-focal-calattn": dual_focal_calattn,
}


def brier(p, t):
    return sum((a - b) ** 2 for a, b in zip(p, t, strict=True))


def cross_entropy(p, t):
    return -sum(b * math.log(a) for a, b in zip(p, t, strict=True))


PER_DISTRIBUTION = {
    "label-smoothing": lambda p, t: cross_entropy(p, [0.95 * b + 0.05 / K for b in t]),
    "brier": brier,
    "cross-entropy-brier": lambda p, t: cross_entropy(p, t) + 0.1 * brier(p, t),
}


def mmce(rows, labels):
    confidence = [max(p) for p in rows]
    correct = [p.index(max(p)) == y for p, y in zip(rows, labels, strict=True)]
    right = [r for r, c in zip(confidence, correct, strict=True) if c]
    wrong = [r for r, c in zip(confidence, correct, strict=True) if not c]

    def kernel(a, b):
        return math.exp(-abs(a - b) / 0.4)

    square = sum((1 - a) * (1 - b) * kernel(a, b) for a in right for b in right) / len(right) ** 2
    square += sum(a * b * kernel(a, b) for a in wrong for b in wrong) / len(wrong) ** 2
    square -= 2 * sum((1 - a) * b * kernel(a, b) for a in right for b in wrong) / (len(right) * len(wrong))
    return cross_entropy_of(rows, labels) + 2 * math.sqrt(square)


def mmce_code(rows, labels):
    """As the code of Mukhoti 2020: means over pairs, divided by the numbers of pairs once more."""
    pairs = [(max(p), p.index(max(p)) == y) for p, y in zip(rows, labels, strict=True)]
    right, wrong = [r for r, c in pairs if c], [r for r, c in pairs if not c]

    def mean(first, second):
        return sum(a * b * math.exp(-abs(r - s) / 0.4) for r, a in first for s, b in second) / len(first) / len(second)

    sides = [(r, 1 - r) for r in right], [(r, r) for r in wrong]
    square = mean(sides[0], sides[0]) / len(right) ** 2 + mean(sides[1], sides[1]) / len(wrong) ** 2
    square -= 2 * mean(*sides) / (len(right) * len(wrong))
    return cross_entropy_of(rows, labels) + 2 * math.sqrt(square)


def mmce_calattn(rows, labels):
    pairs = [(max(p), float(p.index(max(p)) == y)) for p, y in zip(rows, labels, strict=True)]
    total = sum((c - r) * (d - s) * math.exp(-((r - s) ** 2) / 0.32) for r, c in pairs for s, d in pairs)
    return cross_entropy_of(rows, labels) + 0.1 * total / len(rows) ** 2


def cross_entropy_of(rows, labels):
    return -sum(math.log(p[y]) for p, y in zip(rows, labels, strict=True)) / len(rows)


def mdca(rows, targets):
    n = len(rows)
    focal = -sum(t[k] * (1 - p[k]) * math.log(p[k]) for p, t in zip(rows, targets, strict=True) for k in range(K)) / n
    gaps = [abs(sum(p[k] for p in rows) - sum(t[k] for t in targets)) / n for k in range(K)]
    return focal + sum(gaps) / K


def soft_binned_ece(rows, labels):
    square = 0
    members = []
    for p in rows:
        u = [math.exp(-((max(p) - (b + 0.5) / 15) ** 2) / 0.01) for b in range(15)]
        members.append([value / sum(u) for value in u])
    for b in range(15):
        mass = sum(u[b] for u in members)
        confidence = sum(u[b] * max(p) for u, p in zip(members, rows, strict=True)) / mass
        right = sum(u[b] for u, p, y in zip(members, rows, labels, strict=True) if p.index(max(p)) == y) / mass
        square += mass / len(rows) * (right - confidence) ** 2
    return cross_entropy_of(rows, labels) + math.sqrt(square)


PER_BATCH = {"mmce": mmce, "mmce-code": mmce_code, "mmce-calattn": mmce_calattn, "soft-binned-ece": soft_binned_ece}


def by_formula(name, raw, temperature, targets, formulas_of_logits):
    """The loss by its plain formula; a distribution as target gives its expectation where it is per label."""
    rows = (raw / temperature[:, None]).softmax(dim=1).tolist()
    soft = (one_hot(targets, K) if targets.ndim == 1 else targets).tolist()
    if name in formulas_of_logits:
        return formulas_of_logits[name]((raw / temperature[:, None]).tolist(), soft)
    if name in PER_BATCH:
        return PER_BATCH[name](rows, targets.tolist())
    if name == "mdca":
        return mdca(rows, soft)
    if name in PER_DISTRIBUTION:
        losses = [PER_DISTRIBUTION[name](p, t) for p, t in zip(rows, soft, strict=True)]
    elif name == "logit-norm":
        lengths = (raw / temperature[:, None]).norm(dim=1, keepdim=True) + 1e-7
        normed = (raw / temperature[:, None] / lengths / 0.04).softmax(dim=1).tolist()
        losses = [cross_entropy(p, t) for p, t in zip(normed, soft, strict=True)]
    elif name == "tempnet-dro":
        rho = 0.9 * math.log(K)
        losses = [
            tau * cross_entropy(p, t) + (rho - math.log(K)) * tau
            for p, t, tau in zip(rows, soft, temperature.tolist(), strict=True)
        ]
    else:
        losses = [sum(t[k] * PER_SAMPLE[name](p, k) for k in range(K) if t[k]) for p, t in zip(rows, soft, strict=True)]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_loss_is_its_formula(name, batch, formulas_of_logits):
    raw, temperature, labels, _ = batch
    loss = registry.create(name).loss(outputs_of(raw, temperature), labels)
    assert loss.ndim == 0
    assert loss.dtype == torch.float64
    expected = by_formula(name, raw, temperature, labels, formulas_of_logits)
    assert loss.item() == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("name", SOFT)
def test_soft_targets(name, batch, formulas_of_logits):
    raw, temperature, labels, soft = batch
    objective, outputs = registry.create(name), outputs_of(raw, temperature)
    expected = by_formula(name, raw, temperature, soft, formulas_of_logits)
    assert objective.loss(outputs, soft).item() == pytest.approx(expected, rel=1e-11)
    hard = objective.loss(outputs, labels)
    torch.testing.assert_close(objective.loss(outputs, one_hot(labels, K).float()), hard, rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", HARD)
def test_hard_label_losses_refuse_distributions(name, batch):
    raw, temperature, _, soft = batch
    with pytest.raises(ValueError, match=r"labels \(N,\) alone"):
        registry.create(name).loss(outputs_of(raw, temperature), soft)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradient(name, batch):
    raw, temperature, labels, soft = batch
    objective = registry.create(name)
    raw, temperature = raw.requires_grad_(), temperature.requires_grad_()
    assert gradcheck(lambda z, s: objective.loss(outputs_of(z, s), labels), (raw, temperature))
    if objective.takes_soft_targets:
        assert gradcheck(lambda z, s: objective.loss(outputs_of(z, s), soft), (raw, temperature))


def extreme_batches():
    """Logits whose softmax has exact zeros and ones in float32, all right, all wrong, mixed; and all equal."""
    sure = torch.tensor([[1e4, 0, 0, 0, 0], [0, 1e4, 0, 0, 0], [-1e4, 0, 0, -1e4, -1e4], [88, -88, 0, 0, 0]])
    yield "right", sure, torch.tensor([0, 1, 2, 0])
    yield "wrong", sure, torch.tensor([1, 0, 0, 1])
    yield "mixed", sure, torch.tensor([0, 0, 3, 1])
    yield "equal", torch.zeros(4, K), torch.tensor([0, 1, 2, 3])
    yield "one sample", sure[:1], torch.tensor([0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_finite_at_certainty(name, dtype):
    objective = registry.create(name)
    for what, logits, labels in extreme_batches():
        for targets in (labels, one_hot(labels, K).float()) if objective.takes_soft_targets else (labels,):
            leaf = logits.to(dtype, copy=True).requires_grad_()
            loss = objective.loss(Outputs(leaf, leaf, torch.ones(len(leaf))), targets)
            loss.backward()
            assert loss.dtype == torch.float32, what
            assert loss.isfinite(), what
            assert leaf.grad.isfinite().all(), what


@pytest.mark.parametrize("gamma", [0, 0.3, 1, 2.5])
@pytest.mark.parametrize("name", ["focal", "dual-focal", "dual-focal-calattn", "mdca"])
def test_every_gamma_has_finite_gradients(name, gamma):
    for what, logits, labels in extreme_batches():
        leaf = logits.clone().requires_grad_()
        registry.create(name, gamma=gamma).loss(Outputs(leaf, leaf), labels).backward()
        assert leaf.grad.isfinite().all(), what


@pytest.mark.parametrize("name", OBJECTIVES)
def test_full_precision_under_autocast(name, batch):
    raw, temperature, labels, _ = batch
    raw, temperature = raw.float(), temperature.float()
    objective = registry.create(name)
    plain = objective.loss(outputs_of(raw, temperature), labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = objective.loss(outputs_of(raw, temperature), labels)
    assert cast.dtype == torch.float32
    assert cast == plain


def test_gamma_zero_is_cross_entropy(batch):
    raw, _, labels, _ = batch
    expected = registry.create("cross-entropy").loss(Outputs(raw, raw), labels)
    for name in ("focal", "dual-focal"):
        torch.testing.assert_close(registry.create(name, gamma=0).loss(Outputs(raw, raw), labels), expected)


def test_flsd53_switches_at_one_fifth():
    below = torch.tensor([[0.19, 0.81]], dtype=torch.float64).log()
    above = torch.tensor([[0.21, 0.79]], dtype=torch.float64).log()
    label = torch.tensor([0])
    loss = registry.create("focal-flsd53").loss
    assert loss(Outputs(below, below), label).item() == pytest.approx(-(0.81**5) * math.log(0.19))
    assert loss(Outputs(above, above), label).item() == pytest.approx(-(0.79**3) * math.log(0.21))


def test_dual_focal_runner_up_is_strictly_below():
    p = torch.tensor([[0.4, 0.4, 0.2]], dtype=torch.float64)
    loss = registry.create("dual-focal").loss(Outputs(p.log(), p.log()), torch.tensor([0]))
    assert loss.item() == pytest.approx(-((1 - 0.4 + 0.2) ** 5) * math.log(0.4))
    lowest = registry.create("dual-focal").loss(Outputs(p.log(), p.log()), torch.tensor([2]))
    assert lowest.item() == pytest.approx(-(0.8**5) * math.log(0.2))


def test_mmce_needs_right_and_wrong_samples():
    sure = 100 * torch.eye(4)
    loss = registry.create("mmce").loss
    assert loss(Outputs(sure, sure), torch.arange(4)).item() == pytest.approx(0, abs=1e-6)
    assert loss(Outputs(sure, sure), torch.arange(4).roll(1)).item() == pytest.approx(100)
    # Confidence 1, two of four wrong: the mean cross-entropy is 50 and MMCE_w is 1.
    assert loss(Outputs(sure, sure), torch.tensor([0, 1, 3, 2])).item() == pytest.approx(52, rel=1e-6)


def test_dro_radius_has_to_fit_the_classes(batch):
    raw, temperature, labels, _ = batch
    with pytest.raises(InputError, match=r"rho=2.0 exceeds log K = 1.609"):
        registry.create("tempnet-dro", rho=2.0).loss(outputs_of(raw, temperature), labels)
    with pytest.raises(InputError, match="needs a head with a temperature"):
        registry.create("tempnet-dro").loss(Outputs(raw, raw), labels)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("label-smoothing", {"epsilon": 1.0}),
        ("label-smoothing", {"epsilon": -0.1}),
        ("cross-entropy-brier", {"weight": -1}),
        ("focal", {"gamma": -1}),
        ("focal", {"gamma": "three"}),
        ("focal", {"gama": 3}),
        ("dual-focal", {"gamma": -1}),
        ("mmce", {"weight": -1}),
        ("mdca", {"gamma": -1}),
        ("soft-binned-ece", {"bins": 0}),
        ("soft-binned-ece", {"temperature": 0}),
        ("tempnet-dro", {"rho": -1}),
        ("brier", {"weight": 1}),
    ],
)
def test_bad_options_are_refused(name, options):
    with pytest.raises(InputError, match=name):
        registry.create(name, **options)
