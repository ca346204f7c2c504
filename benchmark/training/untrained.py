"""Evaluating pretrained networks without training: the calibration split is part of the test images.

A pretrained network was trained on the training images, so a calibration split of them would be too optimistic. The
test images are split instead, stratified by class.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from calbench.benchmark.config.cell import Cell
from calbench.benchmark.core.seeds import seed_for
from calbench.benchmark.data.splits import load_splits
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.benchmark.training.devices import make_devices
from calbench.benchmark.training.model import build_classifier
from calbench.benchmark.training.prediction import predict
from calbench.datasets import Split, stratified_split

OnSplit = Callable[[int, int], None]
"""Called with the number of splits that are predicted, and the number of all."""


def evaluated_splits(cell: Cell, root: Path) -> dict[str, Split]:
    """The splits that a network without training predicts: calibration and test, and any shifted or other ones.

    Args:
        cell: whose training has no epochs.
        root: folder of downloaded datasets.
    """
    splits = load_splits(cell, root.expanduser())
    seed = seed_for(cell.split_seed, "calibration-split")
    test, calibration = stratified_split(splits.test.labels, cell.calibration_fraction, seed)
    parts = {"calibration": splits.test.subset(calibration), "test": splits.test.subset(test)}
    parts |= {f"shift-{name}": split for name, split in splits.shifted.items()}
    return parts | {f"ood-{name}": split for name, split in splits.out_of_distribution.items()}


def predict_untrained(
    cell: Cell, data_root: Path, device: str, on_split: OnSplit = lambda done, total: None
) -> tuple[Predictions, dict[str, Any]]:
    """Predict the splits of a cell with its backbone as it is: pretrained, from a checkpoint, or randomly initialised.

    Args:
        cell: whose training has no epochs.
        data_root: folder of downloaded datasets.
        device: ``auto``, ``cpu`` or ``cuda``.
        on_split: called after every split.

    Returns:
        The predictions, the same for every checkpoint rule, and the manifest's entries about them.

    Raises:
        InputError: the weights or the images are not there; the message says what to do.
    """
    devices = make_devices(device, cell.training.precision)
    try:
        model = build_classifier(cell.dataset, cell.backbone, cell.recipe, cell.seed).to(devices.device)
        config = cell.backbone.data_config(cell.dataset)
        parts: dict[str, SplitPredictions] = {}
        splits = evaluated_splits(cell, data_root)
        for name, split in splits.items():
            parts[name] = predict(model, split, config, devices)
            on_split(len(parts), len(splits))
        predictions = Predictions({(rule, name): part for rule in cell.checkpoints for name, part in parts.items()})
        record = {"history": [], "checkpoints": dict.fromkeys(cell.checkpoints, 0), "note": None}
        return predictions, record | model.parameter_counts()
    finally:
        devices.release()
