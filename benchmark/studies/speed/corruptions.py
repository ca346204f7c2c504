"""Generated corruptions, all of them at every severity."""

from collections.abc import Iterator

import torch

from calbench.benchmark.corruptions import SEVERITIES, corrupt, corruption_names
from calbench.benchmark.studies.speed.measure import Measurement, group, measure


@group("corruptions", "Corrupting 10,000 images of 3 x 32 x 32 pixels, 14 corruptions at 5 severities")
def corruption_speed(quick: bool, repeats: int) -> Iterator[Measurement]:
    """Each corruption at its five severities, and all together."""
    count = 1_000 if quick else 10_000
    images = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    names = corruption_names("cifar-c")
    corrupt(images[:1], names[0], 1)  # imports and plug-ins

    def every_severity(name: str) -> None:
        for severity in SEVERITIES:
            corrupt(images, name, severity)

    total = 0.0
    for name in names:
        line = measure(name, "calbench", lambda name=name: every_severity(name), min(repeats, 1), "5 severities")
        total += line.seconds
        yield line
    nan = float("nan")
    yield Measurement("all", "calbench", total, total, nan, f"{len(names)} corruptions x {len(SEVERITIES)} severities")
