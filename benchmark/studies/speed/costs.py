"""What every calibrator costs: seconds to fit and to transform, fitted values, and whether the prediction is kept."""

import math
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from torch import Tensor, nn

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import option_defaults, option_fields
from calbench.benchmark.studies.speed.calibrators import _planted
from calbench.benchmark.studies.speed.measure import Measurement, group
from calbench.methods import Calibrator, registry

WIDTH = 384
"""Features of each sample, as ViT-S has them."""

MOST_SECONDS = 15.0
"""Seconds of the processor after which a fit, or a transform, is stopped."""

FIRST = "temperature-scaling"


def calibrator_names() -> list[str]:
    """The registered calibrators that need no option and work on many classes; temperature scaling first."""
    names = [
        name
        for name in registry
        if issubclass(cls := registry[name], Calibrator)
        and len(option_defaults(cls)) == len(option_fields(cls))
        and "binary" not in cls.needs
    ]
    return sorted(names, key=lambda name: (name != FIRST, name))


@group(
    "costs", "What every calibrator costs in processor time: median is the fit, best the transform of as many samples"
)
def calibrator_costs(quick: bool, repeats: int) -> Iterator[Measurement]:
    """Each calibrator once at both sizes, with its default options; `repeats` does not matter."""
    small, large = ((500, 20), (1_000, 50)) if quick else ((5_000, 100), (50_000, 1_000))
    for size in (small, large):
        for name in calibrator_names():
            yield cost(name, *size)


class OverTimeError(Exception):
    """What was measured took longer than its limit."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Stop what runs inside, with an `OverTimeError`, after so many seconds of the processor; in the main thread."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise OverTimeError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def cost(name: str, rows: int, classes: int, limit: float = MOST_SECONDS) -> Measurement:
    """Fit and transform one calibrator once; the note has its fitted values and whether it keeps every prediction.

    Args:
        name: of a registered calibrator.
        rows: N of the planted logits.
        classes: K of them.
        limit: seconds of the processor for the fit, and for the transform; a longer one is stopped, as the note says.
    """
    logits, labels = _planted(rows, classes)
    calibrator = registry.create(name)
    extra = {"features": _features(rows)} if "features" in calibrator.needs else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        middle = nan = float("nan")
        task = f"{rows:,} x {classes:,}"
        start = time.process_time()  # of the processor: the same on a machine with other work
        try:
            with limited(limit):
                calibrator.fit(logits, labels, **extra)
            middle = time.process_time()
            with limited(limit):
                result = calibrator.transform(logits, **extra)
            end = time.process_time()
        except InputError as error:
            return Measurement(task, name, nan, nan, nan, str(error))
        except OverTimeError:
            what = "fit" if math.isnan(middle) else "transform"
            return Measurement(task, name, middle - start, nan, nan, f"{what}: over {limit:g} s, stopped")
    kept = "prediction kept" if calibrator.keeps_accuracy else "prediction can change"
    changed = float((result.argmax(dim=1) != logits.argmax(dim=1)).double().mean())
    note = f"{fitted_numbers(calibrator):,} fitted numbers; {kept} ({100 * changed:.1f} % changed)"
    return Measurement(task, name, middle - start, end - middle, nan, note)


def fitted_numbers(calibrator: Calibrator) -> int:
    """How many numbers a fitted calibrator consists of, kept calibration samples included."""
    total = 0
    for value in calibrator.fitted().values():
        if isinstance(value, nn.Module):
            total += sum(part.numel() for part in value.state_dict().values())
        else:
            total += value.numel() if isinstance(value, Tensor) else 1
    return total


def _features(rows: int) -> Tensor:
    return torch.randn(rows, WIDTH, generator=torch.Generator().manual_seed(1))
