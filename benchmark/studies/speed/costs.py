"""What every calibrator costs: seconds to fit and to transform, fitted values, and whether the prediction is kept."""

import math
import time
import warnings
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.registry import option_defaults, option_fields
from calbench.benchmark.studies.speed.calibrators import _planted
from calbench.benchmark.studies.speed.measure import Measurement, group
from calbench.methods import Calibrator, registry

WIDTH = 384
"""Features of each sample, as ViT-S has them."""

MOST_SECONDS = 2.0
"""A fit at 5,000 x 100 above which the large one, of a hundred times as many logits, is left out."""

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
    lines = [cost(name, *small) for name in calibrator_names()]
    yield from lines
    for line in lines:
        if line.seconds <= MOST_SECONDS:
            yield cost(line.who, *large)
        else:
            reason = (
                line.note if math.isnan(line.seconds) else f"takes {line.seconds:.1f} s at {small[0]:,} x {small[1]}"
            )
            yield _left_out(line.who, *large, f"left out: {reason}")


def cost(name: str, rows: int, classes: int) -> Measurement:
    """Fit and transform one calibrator once; the note has its fitted values and whether it keeps every prediction."""
    logits, labels = _planted(rows, classes)
    calibrator = registry.create(name)
    extra = {"features": _features(rows)} if "features" in calibrator.needs else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            start = time.process_time()  # of the processor: the same on a machine with other work
            calibrator.fit(logits, labels, **extra)
            middle = time.process_time()
            result = calibrator.transform(logits, **extra)
            end = time.process_time()
        except InputError as error:
            return _left_out(name, rows, classes, str(error))
    kept = "prediction kept" if calibrator.keeps_accuracy else "prediction can change"
    changed = float((result.argmax(dim=1) != logits.argmax(dim=1)).double().mean())
    note = f"{fitted_numbers(calibrator):,} fitted numbers; {kept} ({100 * changed:.1f} % changed)"
    return Measurement(f"{rows:,} x {classes:,}", name, middle - start, end - middle, float("nan"), note)


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


def _left_out(name: str, rows: int, classes: int, reason: str) -> Measurement:
    nan = float("nan")
    return Measurement(f"{rows:,} x {classes:,}", name, nan, nan, nan, reason)
