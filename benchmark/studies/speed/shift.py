"""Cost of shifted splits: corrupting, predicting and evaluating many of them, against the forward passes alone."""

import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from calbench.benchmark.studies.speed.engine import Network, images_cell
from calbench.benchmark.studies.speed.measure import Measurement, group, peak_mb

FEW = 10
"""Splits of the first run; that memory does not grow from it to the whole number is to be seen."""
ENTRIES = {"one entry": ("cross-entropy",), "three entries": ("cross-entropy", "temperature-scaling", "vector-scaling")}


@group("shift", "Shifted splits of one cell: everything against the forward passes alone, in seconds of processor time")
def shift_speed(quick: bool, repeats: int) -> Iterator[Measurement]:
    """14 corruptions x 5 severities of 2,000 images of 32 pixels, on a ViT of 0.8 million parameters."""
    from calbench.benchmark.corruptions import SEVERITIES, corruption_names

    images = 200 if quick else 2_000
    names = corruption_names("cifar-c")
    every = list(itertools.product(names, SEVERITIES))
    with tempfile.TemporaryDirectory() as folder:
        network = Network("vit-mini-32", {}, 3, 32)
        cell = images_cell(network, Path(folder), "cross-entropy", train=200, test=images)
        work = _Work(cell, Path(folder))
        for count in (FEW, len(every)):
            wanted = every[:: len(every) // FEW] if count == FEW else every
            yield from work.lines(f"{count} splits of {images:,} images", wanted)


class _Work:
    """A cell with random weights, and what it costs to bring further splits of it up to date."""

    def __init__(self, cell: Any, root: Path) -> None:
        from calbench.benchmark.data.splits import prepare_data
        from calbench.benchmark.training.devices import make_devices
        from calbench.benchmark.training.model import build_classifier

        self.cell, self.root = cell, root
        self.devices, self.data = make_devices("cpu", "float32"), prepare_data(cell, root)
        self.model = build_classifier(cell.dataset, cell.backbone, cell.recipe, cell.seed).eval()

    def lines(self, task: str, wanted: Sequence[tuple[str, int]]) -> Iterator[Measurement]:
        """The forward passes of as many test splits, then each part of the work, then all of it for some entries."""
        from calbench.benchmark.data.extra_splits import load_extra
        from calbench.benchmark.training.prediction import predict

        splits = [_split(name, severity) for name, severity in wanted]
        test, config = self.data.evaluated["test"], self.data.config

        def forward() -> None:
            for _ in splits:
                predict(self.model, test, config, self.devices)

        def corruption() -> None:
            for split in splits:
                load_extra(split, self.cell, self.root)

        predict(self.model, test, config, self.devices)  # the first pass allocates
        yield Measurement(task, "forward passes", *_timed(forward))
        yield Measurement(task, "corruption", *_timed(corruption))
        for note, entries in ENTRIES.items():
            numbers = _timed(partial(self._all, splits, entries))
            yield Measurement(task, "corruption, prediction, evaluation", *numbers, note)

    def _all(self, splits: list[Any], entries: tuple[str, ...]) -> None:
        """As a run does it, without the disk."""
        from calbench.benchmark.config.entry import parse_entry
        from calbench.benchmark.config.protocol import make_protocol
        from calbench.benchmark.evaluation.extra_splits import ExtraEvaluator
        from calbench.benchmark.predictions.predictions import Predictions
        from calbench.benchmark.training.extra_splits import predict_extra
        from calbench.benchmark.training.prediction import predict

        own = self.data.evaluated.items()
        parts = {("last", name): predict(self.model, split, self.data.config, self.devices) for name, split in own}
        chains = {name: parse_entry(name).calibrators for name in entries}
        evaluator = ExtraEvaluator(Predictions(parts), chains, make_protocol("clean"), graded=True, detecting=False)
        weights = {"last": self.model.state_dict()}
        predict_extra(self.cell, weights, splits, self.root, "cpu", evaluator.add)
        evaluator.finish()


def _split(name: str, severity: int) -> Any:
    from calbench.benchmark.config.extra_splits import SHIFT, Corrupted, severity_group

    return Corrupted(f"{SHIFT}{name}-{severity}", severity_group(severity), False, name, severity)


def _timed(call: Any) -> tuple[float, float, float]:
    """Seconds of processor time, twice (they were taken once), and the peak memory above that before, in MB."""
    before = peak_mb(reset=True)
    started = time.process_time()
    call()
    seconds = time.process_time() - started
    return seconds, seconds, peak_mb(reset=False) - before
