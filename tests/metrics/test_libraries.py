"""Other libraries: the same where they are right, and where they are not, what they say and what is true."""

import numpy as np
import pytest
import torch
from netcal import metrics as netcal
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss, roc_auc_score, top_k_accuracy_score
from torchmetrics.functional.classification import multiclass_calibration_error

from calbench.benchmark.metrics import evaluate


@pytest.fixture(scope="module")
def cell():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2000, 8)) * 2
    y = (0.7 * z + rng.gumbel(size=z.shape)).argmax(1)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return p, y, evaluate(probabilities=p, labels=y, metrics=[
        "ece", "mce", "adaece", "accuracy", "nll", "brier", "top5-accuracy", "misclassification-auroc"
    ])  # fmt: skip


def torchmetrics_ece(p, y, norm="l1"):
    return 100 * float(multiclass_calibration_error(torch.tensor(p), torch.tensor(y), p.shape[1], 15, norm))


def test_netcal_agrees(cell):
    p, y, found = cell
    assert found["ece"] == pytest.approx(100 * netcal.ECE(15).measure(p, y))
    assert found["mce"] == pytest.approx(100 * netcal.MCE(15).measure(p, y))


def test_torchmetrics_agrees(cell):
    p, y, found = cell
    assert found["ece"] == pytest.approx(torchmetrics_ece(p, y), rel=1e-5)
    assert found["mce"] == pytest.approx(torchmetrics_ece(p, y, "max"), rel=1e-5)


def test_scikit_learn_agrees(cell):
    p, y, found = cell
    conf, correct = p.max(1), p.argmax(1) == y
    assert found["accuracy"] == pytest.approx(100 * accuracy_score(y, p.argmax(1)))
    assert found["nll"] == pytest.approx(log_loss(y, p))
    assert found["brier"] == pytest.approx(brier_score_loss(y, p, scale_by_half=False))
    assert found["top5-accuracy"] == pytest.approx(100 * top_k_accuracy_score(y, p, k=5))
    assert found["misclassification-auroc"] == pytest.approx(100 * roc_auc_score(correct, conf))


def test_confidence_one_belongs_to_the_last_bin_where_torchmetrics_has_a_sixteenth():
    # 6,000 samples at 1.0 with 499 wrong, 4,000 at 0.95 all right: one bin, in which 4.99 and -2.00 meet
    p = np.array([[1.0, 0.0]] * 6000 + [[0.95, 0.05]] * 4000)
    y = np.array([0] * 5501 + [1] * 499 + [0] * 4000)
    assert evaluate(probabilities=p, labels=y)["ece"] == pytest.approx(2.99)
    assert torchmetrics_ece(p, y) == pytest.approx(6.99, abs=0.005)  # in float32


def test_equal_mass_bins_of_one_hot_probabilities_where_netcal_raises():
    y = np.arange(100) % 5
    p = np.eye(5)[np.where(np.arange(100) < 20, (y + 1) % 5, y)]
    assert evaluate(probabilities=p, labels=y)["adaece"] == pytest.approx(20)
    with pytest.raises(ValueError, match="edge difference"):
        netcal.ECE(15, equal_intervals=False).measure(p, y)


def test_classes_come_from_the_predictions_where_netcal_guesses_from_the_labels(cell):
    p, y, _ = cell
    few = y < 2
    conf, correct = p[few].max(1), p[few].argmax(1) == y[few]
    index = np.clip(np.ceil(conf * 15).astype(int) - 1, 0, 14)
    expected = 100 * sum(abs((correct - conf)[index == b].sum()) for b in range(15)) / few.sum()
    assert evaluate(probabilities=p[few], labels=y[few])["ece"] == pytest.approx(expected)
    with pytest.raises(RuntimeError, match="binary"):
        netcal.ECE(15).measure(p[few], y[few])
