"""Predicts a dataset with a network and writes one file, in shards from which an interrupted run resumes."""

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor

from calbench.benchmark.backbones import Backbone
from calbench.benchmark.config.cell import Cell
from calbench.benchmark.config.entry import DEFAULT_OBJECTIVE, parse_entry
from calbench.benchmark.config.training import TrainingConfig
from calbench.benchmark.core import environment
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.files import write_atomically
from calbench.benchmark.results.record import without_paths
from calbench.benchmark.training.devices import make_devices
from calbench.benchmark.training.model import build_classifier
from calbench.benchmark.training.prediction import predict
from calbench.benchmark.training.untrained import classifier_note, evaluated_splits
from calbench.datasets import Dataset, Split

SHARD = 5000
"""Images per shard: what an interruption can lose at most."""
Progress = Callable[[int, int], None]
"""Called with the number of images that are done, and of all."""
Note = Callable[[str], object]
"""Called with one line for the reader."""


@dataclass(frozen=True)
class Shard:
    """Some images of a split."""

    split: str
    number: int
    images: Split

    @property
    def file(self) -> str:
        """The name of the file of its predictions."""
        return f"{self.split}-{self.number:05d}.safetensors"


def predict_network(
    backbone: Backbone, dataset: Dataset, output: Path, *, data_root: Path = Path("~/.cache/calbench"),
    calibration: float = 0.5, seed: int = 0, device: str = "auto", precision: str = "auto",
    progress: Progress = lambda done, total: None, note: Note = warnings.warn,
) -> Path:  # fmt: skip
    """Predict the test images of a dataset with a network as it comes, split into a calibration and a test part.

    Args:
        backbone: pretrained, or with a checkpoint.
        dataset: whose test images are predicted; shifted and out-of-distribution splits of it too.
        output: the safetensors file to write, with ``<split>.logits``, ``<split>.labels`` and ``<split>.features``,
            and the provenance in its metadata. Shards are kept next to it until it is whole.
        data_root: folder of downloaded datasets.
        calibration: the share of the test images that makes the calibration split, stratified by class.
        seed: of that split.
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: ``auto`` (bfloat16 on GPUs that have it), ``float32``, ``bf16`` or ``fp16``.
        progress: called after every shard.
        note: called with a line on a classifier that has no trained weights.

    Returns:
        `output`.

    Raises:
        InputError: weights or images that are not there, or another ending than ``.safetensors``.
    """
    if output.suffix != ".safetensors":
        raise InputError(f"{output.name}: predictions are written as .safetensors")
    cell = Cell(
        dataset, dataset.fingerprint(data_root.expanduser()), backbone, parse_entry(DEFAULT_OBJECTIVE).recipe, seed,
        TrainingConfig.model_validate({"epochs": 0, "precision": precision}), calibration, ("last",),
    )  # fmt: skip
    splits = evaluated_splits(cell, data_root)
    folder = output.with_name(f"{output.stem}.shards-{cell.key}")
    shards = [shard for name, split in splits.items() for shard in _shards(name, split)]
    _predict_missing(cell, shards, folder, device, progress, note)
    tensors: dict[str, list[Tensor]] = {}
    for shard in shards:
        for name, tensor in safetensors.torch.load((folder / shard.file).read_bytes()).items():
            tensors.setdefault(f"{shard.split}.{name}", []).append(tensor)
    merged = {name: torch.cat(parts).contiguous() for name, parts in tensors.items()}
    write_atomically(output, safetensors.torch.save(merged, {"calbench": json.dumps(_provenance(cell, splits))}))
    shutil.rmtree(folder)
    return output


def _shards(name: str, split: Split) -> Iterator[Shard]:
    for number, indices in enumerate(torch.arange(len(split)).split(SHARD)):
        yield Shard(name, number, split.subset(indices))


def _predict_missing(
    cell: Cell, shards: list[Shard], folder: Path, device: str, progress: Progress, note: Note
) -> None:
    """Predict the shards that are not in `folder` yet."""
    total = sum(len(shard.images) for shard in shards)
    missing = [shard for shard in shards if not (folder / shard.file).is_file()]
    done = total - sum(len(shard.images) for shard in missing)
    progress(done, total)
    if not missing:
        return
    devices = make_devices(device, cell.training.precision)
    try:
        model = build_classifier(cell.dataset, cell.backbone, cell.recipe, cell.seed).to(devices.device)
        if remark := classifier_note(cell, model):
            note(remark)
        config = cell.backbone.data_config(cell.dataset)
        for shard in missing:
            part = predict(model, shard.images, config, devices)
            kept = {"logits": part.logits, "labels": part.labels, "features": part.features}
            data = safetensors.torch.save(
                {name: value.contiguous() for name, value in kept.items() if value is not None}
            )
            write_atomically(folder / shard.file, data)
            done += len(shard.images)
            progress(done, total)
    finally:
        devices.release()


def _provenance(cell: Cell, splits: dict[str, Split]) -> dict[str, object]:
    """Where the predictions come from, without any path."""
    return without_paths(
        {
            "dataset": cell.dataset.spelled(),
            "backbone": cell.backbone.spelled(),
            "fingerprint": cell.fingerprint,
            "calibration": cell.calibration,
            "seed": cell.seed,
            "samples": {name: len(split) for name, split in splits.items()},
            "commit": environment.commit(),
            "versions": environment.versions(),
        }
    )
