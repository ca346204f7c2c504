"""Evaluating pretrained networks without training: the calibration split is part of the test images.

A pretrained network was trained on the training images, so a calibration split of them would be too optimistic. The
test images are split instead, stratified by class.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch

from calbench.benchmark.backbones.modifiers import ModifiedBackbone
from calbench.benchmark.backbones.timm_model import TimmNetwork
from calbench.benchmark.config.cell import Cell
from calbench.benchmark.core.seeds import seed_for
from calbench.benchmark.data.splits import load_splits
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.benchmark.training.devices import make_devices
from calbench.benchmark.training.model import Classifier, build_classifier
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


def classifier_note(cell: Cell, model: Classifier) -> str | None:
    """One line on a classifier that has no trained weights, so that its predictions are random; else None.

    The network is built once more, from another random start: weights of its last layer that were loaded are the same.

    Args:
        cell: whose training has no epochs.
        model: what `build_classifier` made of it.
    """
    name, classes = cell.backbone.spelled(), cell.dataset.num_classes
    network = cell.backbone.backbone if isinstance(cell.backbone, ModifiedBackbone) else cell.backbone
    if not isinstance(network, TimmNetwork):
        return None  # only the author of a backbone of one's own knows its weights
    if not network.has_weights:
        return f"{name} has no trained weights: its predictions are random; give a checkpoint"
    with torch.random.fork_rng(devices=[]):
        other = build_classifier(cell.dataset, cell.backbone, cell.recipe, cell.seed + 1)
    pairs = zip(_last_layers(model), _last_layers(other), strict=True)
    if all(torch.equal(first.cpu(), second.cpu()) and len(first.unique()) > 1 for first, second in pairs):
        return None
    return (
        f"the classifier of {name} was replaced by a random one, since its weights are not for the {classes:,} classes "
        f"of {cell.dataset.spelled()}: logits and accuracy say nothing before it is trained (only features do)"
    )


def _last_layers(model: Classifier) -> list[torch.Tensor]:
    """The weights of the layers that give logits: two where the network was distilled."""
    layers = cast("Any", model.backbone).model.get_classifier()
    return [layer.weight for layer in (layers if isinstance(layers, tuple) else (layers,))]


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
        note = classifier_note(cell, model)
        parts: dict[str, SplitPredictions] = {}
        splits = evaluated_splits(cell, data_root)
        for name, split in splits.items():
            parts[name] = predict(model, split, config, devices)
            on_split(len(parts), len(splits))
        predictions = Predictions({(rule, name): part for rule in cell.checkpoints for name, part in parts.items()})
        record = {"history": [], "checkpoints": dict.fromkeys(cell.checkpoints, 0), "note": note}
        return predictions, record | model.parameter_counts()
    finally:
        devices.release()
