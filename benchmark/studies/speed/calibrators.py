"""Fits of the scaling family compared with netcal and probmetrics, each with the NLL that it reaches."""

import warnings
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from calbench.benchmark import metrics
from calbench.benchmark.studies.speed.measure import Measurement, group, measure
from calbench.methods import registry

Fit = Callable[[], Any]


@lru_cache(maxsize=2)
def _planted(rows: int, classes: int) -> tuple[Tensor, Tensor]:
    """Over-confident logits whose labels come from a scaled and shifted form of them, float32."""
    generator = torch.Generator().manual_seed(0)
    true = 3 * torch.randn(rows, classes, generator=generator)
    labels = torch.multinomial(true.softmax(dim=1), 1, generator=generator).squeeze(1)
    weight = 0.4 + 0.2 * torch.rand(classes, generator=generator)
    return (true - 0.3 * torch.randn(classes, generator=generator)) / weight, labels


@group("calibrators", "Fits of the scaling family, on float32 logits")
def calibrator_speed(quick: bool, repeats: int) -> Iterator[Measurement]:
    """Temperatures, vectors and the ECE grid."""
    small, large = ((500, 100), (5_000, 1_000)) if quick else ((5_000, 100), (50_000, 1_000))
    for shape in (small, large):
        logits, labels = _planted(*shape)
        task = f"temperature, {shape[0]:,} x {shape[1]:,}"
        yield _ours(task, "temperature-scaling", logits, labels, repeats)
        peers = [("probmetrics, bisection", _probmetrics("bisection")), ("netcal, float64", _netcal)]
        if shape == large:
            peers.insert(0, ("probmetrics, L-BFGS", _probmetrics("lbfgs")))
        for who, fit in peers:
            yield _peer(task, who, fit, logits, labels, repeats if shape == small else 1)
    logits, labels = _planted(*small)
    task = f"vector scaling, {small[0]:,} x {small[1]:,}"
    yield _ours(task, "vector-scaling", logits, labels, repeats)
    yield _peer(task, "probmetrics", _probmetrics_vector, logits, labels, repeats)
    for name, words in (("vector-scaling", "vector scaling"), ("bias-corrected-ts", "bias-corrected TS")):
        for shape in (large, (500, 21_841) if quick else (5_000, 21_841)):
            yield _ours(f"{words}, {shape[0]:,} x {shape[1]:,}", name, *_planted(*shape), 1)
    task = f"temperature by ECE, {small[0]:,} x {small[1]:,}"
    yield _ours(task, "temperature-scaling", logits, labels, repeats, criterion="ece")
    yield measure(task, "a metric call per temperature", lambda: _naive_grid(logits, labels), min(repeats, 3))


def _ours(task: str, name: str, logits: Tensor, labels: Tensor, repeats: int, **options: Any) -> Measurement:
    calibrator = registry.create(name, **options)
    arrays = logits.numpy(), labels.numpy()
    calibrator.fit(*arrays)
    note = f"NLL {_nll(calibrator.transform(logits), labels):.6f}"
    return measure(task, "calbench", lambda: calibrator.fit(*arrays), repeats, note)


def _peer(task: str, who: str, fit: Callable[..., Any], logits: Tensor, labels: Tensor, repeats: int) -> Measurement:
    """Time only the fit; its inputs, such as probabilities, are computed beforehand."""
    try:
        run, transform = fit(logits, labels)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _with_nll(measure(task, who, run, repeats), transform, labels)
    except ImportError as error:
        nan = float("nan")
        return Measurement(task, who, nan, nan, nan, f"skipped: {error}")


def _with_nll(line: Measurement, transform: Callable[[], Tensor], labels: Tensor) -> Measurement:
    return Measurement(
        line.task, line.who, line.seconds, line.best, line.extra_mb, f"NLL {_nll(transform(), labels):.6f}"
    )


def _nll(logits: Tensor, labels: Tensor) -> float:
    return metrics.evaluate(logits=logits, labels=labels, metrics=["nll"])["nll"]


def _probmetrics(optimiser: str) -> Callable[..., tuple[Fit, Callable[[], Tensor]]]:
    def prepare(logits: Tensor, labels: Tensor) -> tuple[Fit, Callable[[], Tensor]]:
        from probmetrics.calibrators import TemperatureScalingCalibrator
        from probmetrics.distributions import CategoricalLogits

        given, model = CategoricalLogits(logits), TemperatureScalingCalibrator(opt=optimiser)
        return lambda: model.fit_torch(given, labels), lambda: logits * float(model.invtemp_)

    return prepare


def _probmetrics_vector(logits: Tensor, labels: Tensor) -> tuple[Fit, Callable[[], Tensor]]:
    from probmetrics.calibrators.logistic import VectorScalingCalibrator
    from probmetrics.distributions import CategoricalLogits

    given, model = CategoricalLogits(logits), VectorScalingCalibrator()
    return lambda: model.fit_torch(given, labels), lambda: model.predict_proba_torch(given).get_logits()


def _netcal(logits: Tensor, labels: Tensor) -> tuple[Fit, Callable[[], Tensor]]:
    """With float64 probabilities: given float32, netcal 1.4.0 returns the identity."""
    from netcal.scaling import TemperatureScaling

    probabilities, targets, model = logits.double().softmax(dim=1).numpy(), labels.numpy(), TemperatureScaling()

    def transform() -> Tensor:
        return torch.from_numpy(np.maximum(model.transform(probabilities), 1e-300)).log()

    return lambda: model.fit(probabilities, targets), transform


def _naive_grid(logits: Tensor, labels: Tensor) -> float:
    """The temperature of 0.1, 0.2 ... 10.0 with the lowest ECE, as it is usually written: a metric for each."""
    best, chosen = float("inf"), 1.0
    for tenths in range(1, 101):
        confidence, predicted = functional.softmax(logits / (tenths / 10), dim=1).max(dim=1)
        correct, ece = (predicted == labels).float(), 0.0
        for low in torch.linspace(0, 1, 16)[:-1]:
            inside = (confidence > low) & (confidence <= low + 1 / 15)
            if inside.any():
                ece += float((correct[inside].mean() - confidence[inside].mean()).abs() * inside.float().mean())
        if ece < best:
            best, chosen = ece, tenths / 10
    return chosen
