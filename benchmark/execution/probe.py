"""Estimates the cost of a cell before a long study, from a few timed steps on random images."""

import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from calbench.benchmark.config.cell import Cell
from calbench.benchmark.config.training import followed_metric
from calbench.benchmark.core.threads import threads
from calbench.benchmark.execution.cost import TIMED, Cost
from calbench.benchmark.execution.plan import Work
from calbench.benchmark.training.devices import Devices, make_devices
from calbench.benchmark.training.model import build_classifier
from calbench.benchmark.training.optimization import make_optimizer

CPU_PROBE = 8
"""Images of a probe's first batch on a CPU: of a large network, whose time of an image hardly depends on the batch."""

LONG_STEP = 0.25
"""Seconds from which a step on `CPU_PROBE` images is long enough; shorter ones are timed on the real batch."""

STEPS = 3
"""Timed steps of a probe, after one that warms up; fewer, and the first among them, once `ENOUGH` seconds are over."""

ENOUGH = 2.0


def probe_cell(work: Work, data_root: Path, device: str) -> Cost:
    """Time a few steps of a cell on random images, and scale them to the whole of it.

    Nothing is downloaded for it: the network starts without given weights. Reading images from disk, calibrators and
    metrics are not counted.

    Args:
        work: a cell to train; a cell read from a file costs nothing.
        data_root: folder of downloaded datasets, for the number of images, where the files contain it.
        device: ``auto``, ``cpu`` or ``cuda``.
    """
    cell = work.cell
    if not isinstance(cell, Cell):
        return Cost(0.0, 0.0)
    pool, test = cell.dataset.num_samples(data_root.expanduser())
    calibration = round(pool * cell.calibration_fraction)
    following = any(map(followed_metric, cell.checkpoints))
    evaluated = (calibration + test) * len(cell.checkpoints) + (calibration * cell.training.epochs if following else 0)
    with threads(cell.training.threads):
        step, forward = _seconds_per_image(cell, make_devices(device, cell.training.precision))
    seconds = step * cell.recipe.passes * (pool - calibration) * cell.training.epochs + forward * evaluated
    numbers = cell.dataset.num_classes + cell.backbone.info(cell.dataset).num_features + (cell.recipe.head is not None)
    return Cost(seconds, 4.0 * numbers * (calibration + test) * len(cell.checkpoints), TIMED)


def _seconds_per_image(cell: Cell, devices: Devices) -> tuple[float, float]:
    """Seconds of a training step, and of a forward pass."""
    training = cell.training
    batch = min(training.batch_size, training.micro_batch or training.batch_size)
    model = build_classifier(cell.dataset, cell.backbone.without_weights(cell.dataset), cell.recipe, cell.seed)
    forward, optimizer = devices.prepare(model.to(devices.device), make_optimizer(model, training))

    def timed(size: int) -> tuple[float, float]:
        images, labels = _random_batch(cell, size, devices)

        def step() -> None:
            devices.clear_gradients(optimizer)
            devices.backward(cell.recipe.objective.loss(forward(images), labels))
            optimizer.step()

        return _timed(step, devices) / size, _timed(lambda: _evaluated(model, images, devices), devices) / size

    try:
        first = min(batch, CPU_PROBE) if devices.device.type == "cpu" else batch
        seconds = timed(first)
        return seconds if first == batch or seconds[0] * first > LONG_STEP else timed(batch)
    finally:
        devices.release()


def _random_batch(cell: Cell, count: int, devices: Devices) -> tuple[Tensor, Tensor]:
    size = cell.backbone.without_weights(cell.dataset).data_config(cell.dataset).image_size
    images = torch.randn(count, cell.dataset.channels, size, size, device=devices.device)
    return images, torch.arange(count, device=devices.device) % cell.dataset.num_classes


def _evaluated(model: nn.Module, images: Tensor, devices: Devices) -> None:
    with torch.inference_mode(), devices.autocast():
        model(images)


def _timed(call: Callable[[], None], devices: Devices) -> float:
    """Seconds of one call, the shortest of a few: what else the machine does can only make it longer."""
    seconds: list[float] = []
    while len(seconds) <= STEPS and sum(seconds) < ENOUGH:
        started = time.perf_counter()
        call()
        if devices.device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:] or seconds)
