"""Properties that hold for every input."""

import numpy as np
import pytest
from examples import at_most
from hypothesis import given
from hypothesis import strategies as st

from calbench.benchmark.metrics import Metric, evaluate, registry

ALL = [n for n in registry if issubclass(registry[n], Metric) and not registry[n].needs]
PER_CENT = [n for n in ALL if registry[n].unit == "%" and n not in ("signed-gap", "misclassification-auroc")]
CALIBRATION = ["ece", "adaece", "mce", "smece", "ks", "debiased-ece", "ece-sweep", "signed-gap"]
RANKED = ["adaece", "ece-sweep", "ks", "aurc", "misclassification-auroc"]

bounded = at_most(25)


@st.composite
def cells(draw):
    n, k = draw(st.integers(1, 40)), draw(st.integers(2, 7))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([0.0, 0.5, 3.0, 30.0, 1000.0]))
    z = rng.normal(size=(n, k)) * scale
    if draw(st.booleans()):
        z = np.round(z)  # ties
    return z, rng.integers(0, k, n), rng


def check_same(found, expected):
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-6, nan_ok=True), name


@bounded
@given(cells())
def test_in_range(cell):
    z, y, _ = cell
    found = evaluate(logits=z, labels=y, metrics=ALL)
    for name in PER_CENT:
        assert -1e-9 <= found[name] <= 100 + 1e-9, name
    assert -100 <= found["signed-gap"] <= 100
    assert 0 <= found["brier"] <= 2
    assert found["nll"] >= -1e-12
    assert abs(found["signed-gap"]) <= found["ks"] + 1e-9
    assert abs(found["signed-gap"]) <= found["ece"] + 1e-9 <= found["mce"] + 2e-9
    assert found["accuracy"] <= found["top5-accuracy"]


@bounded
@given(cells())
def test_the_order_of_the_samples_does_not_matter(cell):
    z, y, rng = cell
    order = rng.permutation(len(y))
    check_same(evaluate(logits=z[order], labels=y[order], metrics=ALL), evaluate(logits=z, labels=y, metrics=ALL))


@pytest.mark.slow
@bounded
@given(cells())
def test_names_of_classes_do_not_matter(cell):
    z, y, rng = cell
    z = z + 1e-7 * np.arange(z.shape[1])  # no ties: the first of equal classes is predicted
    z = z + rng.normal(size=z.shape) * 1e-3
    order = rng.permutation(z.shape[1])
    place = np.argsort(order)
    # Summing in another order moves a confidence by an ulp, which is all that tells two saturated ones apart; what is
    # made of ranks is then another number, and rightly so.
    gaps = np.diff(np.sort(np.exp(z.max(1) - np.logaddexp.reduce(z, axis=1))))
    names = ALL if len(y) == 1 or gaps.min() > 1e-9 else [name for name in ALL if name not in RANKED]
    check_same(
        evaluate(logits=z[:, order], labels=place[y], metrics=names), evaluate(logits=z, labels=y, metrics=names)
    )


@bounded
@given(cells())
def test_duplicating_the_sample_keeps_plain_means_and_bins(cell):
    z, y, _ = cell
    names = ["accuracy", "nll", "brier", "ece", "mce", "classwise-ece", "signed-gap", "ks", "smece"]
    twice = evaluate(logits=np.tile(z, (2, 1)), labels=np.tile(y, 2), metrics=names)
    check_same(twice, evaluate(logits=z, labels=y, metrics=names))


@pytest.mark.slow
@bounded
@given(cells())
def test_adding_a_constant_to_a_row_of_logits_changes_nothing(cell):
    z, y, rng = cell
    shift = np.round(rng.normal(size=(len(y), 1)) * 8) / 8
    names = [n for n in ALL if n != "accuracy" and "calattn" not in n]
    check_same(
        evaluate(logits=np.round(z * 8) / 8 + shift, labels=y, metrics=names),
        evaluate(logits=np.round(z * 8) / 8, labels=y, metrics=names),
    )


@pytest.mark.slow
@bounded
@given(cells())
def test_a_class_that_never_appears(cell):
    z, y, _ = cell
    # So low that no temperature brings the class back: the refinement may be reached at T = infinity.
    wide = np.concatenate([z, np.full((len(y), 1), -1e30)], axis=1)
    names = [n for n in ALL if "classwise-ece" not in n and n != "top5-accuracy"]
    check_same(evaluate(logits=wide, labels=y, metrics=names), evaluate(logits=z, labels=y, metrics=names))
    k = z.shape[1]
    narrow, widened = (evaluate(logits=a, labels=y, metrics=["classwise-ece"])["classwise-ece"] for a in (z, wide))
    assert widened * (k + 1) == pytest.approx(narrow * k, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", CALIBRATION)
@bounded
@given(hits=st.lists(st.integers(6, 10), min_size=1, max_size=5), k=st.integers(2, 5))
def test_zero_for_a_calibrated_construction(name, hits, k):
    """Groups of ten samples of confidence h/10, h of them right, the rest spread over other classes."""
    rows, labels = [], []
    for h in hits:
        p = np.full(k, (1 - h / 10) / (k - 1))
        p[0] = h / 10
        rows += [p] * 10
        labels += [0] * h + [1] * (10 - h)
    value = evaluate(probabilities=np.array(rows), labels=np.array(labels), metrics=[name])[name]
    assert value == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_one_sample(name):
    value = evaluate(logits=np.array([[2.0, 0.0]]), labels=[0], metrics=[name])[name]
    assert np.isfinite(value) or name == "misclassification-auroc"


def test_one_sample_has_the_gap_as_its_error():
    found = evaluate(probabilities=np.array([[0.7, 0.3]]), labels=[0], metrics=["ece", "adaece", "mce", "ks", "smece"])
    assert found == pytest.approx(dict.fromkeys(found, 30.0), rel=1e-6)


def test_all_equal_confidences_do_not_depend_on_bins_or_order():
    p = np.tile([0.8, 0.2], (50, 1))
    y = np.array([0] * 40 + [1] * 10)
    for names in (y, y[::-1]):
        found = evaluate(probabilities=p, labels=names, metrics=["ece", "adaece", "ece-sweep"])
        assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=1e-9)


@pytest.mark.slow
def test_float32_sums_do_not_drift():
    """float32 sums of 0.1 and 0.9 over millions of rows are off by per cents; a calibrated model must score 0."""
    n = 1_000_000
    p = np.tile(np.array([0.9, 0.1], dtype=np.float32), (n, 1))
    y = (np.arange(n) % 10 == 0).astype(np.int64)
    found = evaluate(probabilities=p, labels=y, metrics=["ece", "classwise-ece", "signed-gap", "brier"])
    assert found["ece"] == pytest.approx(0, abs=1e-5)
    assert found["classwise-ece"] == pytest.approx(0, abs=1e-5)
    assert found["brier"] == pytest.approx(0.18, rel=1e-6)
