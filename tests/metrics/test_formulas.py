"""Every metric against its formula, written plainly in float64."""

import numpy as np
import pytest

from calbench.benchmark.metrics import PANEL, evaluate, registry, source


def softmax(z):
    e = np.exp(z.astype(np.float64) - z.astype(np.float64).max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def data(n=3000, k=7, seed=0, sharpness=1.6):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, k)) * 1.5
    labels = (z + rng.gumbel(size=(n, k))).argmax(1)
    return sharpness * z, labels


def top(p, y):
    return p.max(1), (p.argmax(1) == y).astype(float)


def bins_of(values, bins):
    return np.clip(np.ceil(values * bins).astype(int) - 1, 0, bins - 1)


def ece(p, y, bins=15):
    conf, correct = top(p, y)
    index = bins_of(conf, bins)
    return 100 * sum(abs((correct - conf)[index == b].sum()) for b in range(bins)) / len(y)


def signed_gap(p, y):
    conf, correct = top(p, y)
    return 100 * (conf.mean() - correct.mean())


def mce(p, y, bins=15):
    conf, correct = top(p, y)
    index = bins_of(conf, bins)
    return 100 * max(abs(correct[index == b].mean() - conf[index == b].mean()) for b in set(index))


def adaece(p, y, bins=15):
    conf, correct = top(p, y)
    residual = (correct - conf)[np.argsort(conf)]
    n = len(y)
    return 100 * sum(abs(residual[b * n // bins : (b + 1) * n // bins].sum()) for b in range(bins)) / n


def classwise_ece(p, y, bins=15):
    total = 0.0
    for k in range(p.shape[1]):
        index = bins_of(p[:, k], bins)
        total += sum(abs(((y == k) - p[:, k])[index == b].sum()) for b in range(bins)) / len(y)
    return 100 * total / p.shape[1]


def nll(p, y):
    return -np.log(p[np.arange(len(y)), y]).mean()


def brier(p, y):
    return ((p - np.eye(p.shape[1])[y]) ** 2).sum(1).mean()


def ks(p, y):
    conf, correct = top(p, y)
    return 100 * max(abs((correct - conf)[conf <= s].sum()) for s in conf) / len(y)


def top5(p, y):
    return 100 * (np.argsort(-p, axis=1, kind="stable")[:, :5] == y[:, None]).any(1).mean()


FORMULAS = {
    "accuracy": lambda p, y: 100 * top(p, y)[1].mean(),
    "top5-accuracy": top5,
    "nll": nll,
    "brier": brier,
    "ece": ece,
    "signed-gap": signed_gap,
    "mce": mce,
    "adaece": adaece,
    "classwise-ece": classwise_ece,
    "ks": ks,
}


@pytest.mark.parametrize("name", FORMULAS)
def test_metric_is_its_formula_in_float64(name):
    z, y = data()
    assert evaluate(logits=z, labels=y, metrics=[name])[name] == pytest.approx(FORMULAS[name](softmax(z), y), rel=1e-12)


@pytest.mark.parametrize("name", FORMULAS)
def test_metric_of_float32_logits_is_its_formula(name):
    z, y = data(seed=1)
    value = evaluate(logits=z.astype(np.float32), labels=y, metrics=[name])[name]
    assert value == pytest.approx(FORMULAS[name](softmax(z), y), rel=1e-5)


@pytest.mark.parametrize("name", FORMULAS)
def test_metric_of_probabilities_is_that_of_logits(name):
    z, y = data(seed=2)
    value = evaluate(probabilities=softmax(z), labels=y, metrics=[name])[name]
    assert value == pytest.approx(evaluate(logits=z, labels=y, metrics=[name])[name], rel=1e-10)


@pytest.mark.parametrize("bins", [1, 2, 10, 100])
def test_number_of_bins(bins):
    z, y = data(seed=3)
    values = evaluate(logits=z, labels=y, metrics=["ece", "adaece", "classwise-ece"], bins=bins)
    p = softmax(z)
    assert values["ece"] == pytest.approx(ece(p, y, bins), rel=1e-12)
    assert values["adaece"] == pytest.approx(adaece(p, y, bins), rel=1e-12)
    assert values["classwise-ece"] == pytest.approx(classwise_ece(p, y, bins), rel=1e-12)


def test_many_blocks_give_the_same_as_one(monkeypatch):
    z, y = data(n=1000, seed=4)
    whole = evaluate(logits=z, labels=y, metrics=[*FORMULAS])
    monkeypatch.setitem(source._BLOCK_ELEMENTS, "cpu", 70)
    assert evaluate(logits=z, labels=y, metrics=[*FORMULAS]) == pytest.approx(whole, rel=1e-12)


def test_default_panel_and_order():
    z, y = data(n=50)
    assert tuple(evaluate(logits=z, labels=y)) == PANEL
    assert list(evaluate(logits=z, labels=y, metrics=["nll", "ece"])) == ["nll", "ece"]


def test_a_metric_works_alone():
    z, y = data(n=500)
    assert registry.create("ece", bins=10)(logits=z, labels=y) == evaluate(logits=z, labels=y, bins=10)["ece"]
