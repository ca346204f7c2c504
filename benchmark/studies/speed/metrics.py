"""Metrics and statistics compared with netcal, torchmetrics, scikit-learn and probmetrics."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from calbench.benchmark import metrics, statistics
from calbench.benchmark.studies.speed.measure import Measurement, group, measure


@cache
def _logits(rows: int, classes: int) -> tuple[Tensor, Tensor]:
    """Logits of a middling, over-confident classifier, float32, and labels."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(rows, classes, generator=generator) * 2
    labels = torch.randint(0, classes, (rows,), generator=generator)
    logits[torch.arange(rows), labels] += 7
    return logits, labels


@group("metrics", "Metrics of 50,000 x 1,000 float32 logits")
def metric_speed(quick: bool, repeats: int) -> Iterator[Measurement]:
    """The panel in one call, and what other libraries give of it, from the same logits."""
    logits, labels = _logits(5_000 if quick else 50_000, 1_000)
    panel = ", ".join(metrics.PANEL)
    yield measure("panel", "calbench", lambda: metrics.evaluate(logits=logits, labels=labels), repeats, panel)
    for who, what, call in _peers(logits, labels):
        yield measure("panel", who, call, min(repeats, 3), what)
    for name in ("ece", "classwise-ece", "smece"):
        yield measure(name, "calbench", _one_metric(name, logits, labels), repeats, "from the logits")
    yield measure("ece", "netcal", lambda: _netcal(logits, labels), min(repeats, 3), "softmax and ECE")
    yield measure("ece", "torchmetrics", lambda: _torchmetrics_ece(logits, labels), min(repeats, 3), "softmax and ECE")


@group("statistics", "Statistics of a 10,000 x 100 cell")
def statistics_speed(quick: bool, repeats: int) -> Iterator[Measurement]:
    """Intervals and noise floors."""
    logits, labels = _logits(1_000 if quick else 10_000, 100)
    yield measure(
        "1,000 resamples of the panel", "calbench", lambda: statistics.bootstrap(logits=logits, labels=labels), repeats
    )
    yield measure(
        "1,000 resamples of the panel",
        "evaluate() on 1,000 resampled arrays",
        lambda: _naive_bootstrap(logits, labels, 20),
        1,
        "only 20 were run: multiply by 50",
    )
    yield measure("noise floor, 1,000 draws", "calbench", lambda: statistics.noise_floor(logits=logits), repeats)
    rows = 500_000 if quick else 5_000_000
    logits, labels = _logits(rows, 10)
    many = f"of {rows:,} x 10"
    yield measure(f"1,000 resamples {many}", "calbench", lambda: statistics.bootstrap(logits=logits, labels=labels), 1)
    yield measure(f"noise floor {many}", "calbench", lambda: statistics.noise_floor(logits=logits), 1)


def _one_metric(name: str, logits: Tensor, labels: Tensor) -> Callable[[], Any]:
    return lambda: metrics.evaluate(logits=logits, labels=labels, metrics=[name])


def _peers(logits: Tensor, labels: Tensor) -> list[tuple[str, str, Callable[[], Any]]]:
    return [
        ("probmetrics", "accuracy, nll, brier, ece", lambda: _probmetrics(logits, labels)),
        ("torchmetrics", "accuracy, nll, ece, mce", lambda: _torchmetrics(logits, labels)),
        ("scikit-learn", "accuracy, nll, brier", lambda: _scikit_learn(logits, labels)),
        ("netcal", "ece only", lambda: _netcal(logits, labels)),
    ]


def _probmetrics(logits: Tensor, labels: Tensor) -> Any:
    from probmetrics.metrics import Metrics

    panel = Metrics.from_names(["accuracy", "logloss", "brier", "ece-15"])
    return panel.compute_all_from_labels_logits(labels, logits)


def _torchmetrics(logits: Tensor, labels: Tensor) -> Any:
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

    probabilities, classes = logits.softmax(dim=1), logits.shape[1]
    return (
        multiclass_accuracy(probabilities, labels, classes, average="micro"),
        torch.nn.functional.cross_entropy(logits, labels),
        multiclass_calibration_error(probabilities, labels, classes, 15, "l1"),
        multiclass_calibration_error(probabilities, labels, classes, 15, "max"),
    )


def _torchmetrics_ece(logits: Tensor, labels: Tensor) -> Any:
    from torchmetrics.functional.classification import multiclass_calibration_error

    return multiclass_calibration_error(logits.softmax(dim=1), labels, logits.shape[1], 15, "l1")


def _scikit_learn(logits: Tensor, labels: Tensor) -> Any:
    from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

    probabilities, truth = logits.softmax(dim=1).numpy(), labels.numpy()
    classes = np.arange(probabilities.shape[1])
    return (
        accuracy_score(truth, probabilities.argmax(axis=1)),
        log_loss(truth, probabilities, labels=classes),
        brier_score_loss(truth, probabilities, labels=classes),
    )


def _netcal(logits: Tensor, labels: Tensor) -> Any:
    from netcal.metrics import ECE

    return ECE(15).measure(logits.softmax(dim=1).numpy(), labels.numpy())


def _naive_bootstrap(logits: Tensor, labels: Tensor, replicates: int) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(replicates):
        rows = torch.randint(0, len(labels), (len(labels),), generator=generator)
        metrics.evaluate(logits=logits[rows], labels=labels[rows])
