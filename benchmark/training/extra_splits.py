"""Predictions of further splits, one at a time: right after training, or later from kept weights."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import torch

from calbench.benchmark.config.cell import Cell
from calbench.benchmark.config.extra_splits import ExtraSplit
from calbench.benchmark.data.extra_splits import load_extra
from calbench.benchmark.predictions.predictions import SplitPredictions
from calbench.benchmark.store.store import Store
from calbench.benchmark.store.weights import WeightsByRule, read_weights
from calbench.benchmark.training.devices import make_devices
from calbench.benchmark.training.model import Classifier, build_classifier
from calbench.benchmark.training.prediction import predict

AFFECTS_RESULTS = False
Write = Callable[[ExtraSplit, dict[str, SplitPredictions]], None]


def predict_extra(
    cell: Cell, weights: WeightsByRule, splits: Iterable[ExtraSplit], root: Path, device: str, write: Write
) -> None:
    """Predict further splits of a cell; memory does not grow with their number.

    Args:
        cell: a trained cell.
        weights: of every checkpoint rule.
        splits: what to predict.
        root: folder of downloaded datasets.
        device: ``auto``, ``cpu`` or ``cuda``.
        write: gets each split and its predictions by checkpoint rule. Features are left out where the split does not
            ask for them.

    Raises:
        InputError: files of a split are missing or damaged.
        ValueError: logits that are not finite.
    """
    devices = make_devices(device, cell.training.precision)
    models = {rule: _model(cell, state).to(devices.device) for rule, state in weights.items()}
    for extra in splits:
        split, config = load_extra(extra, cell, root)
        parts = {}
        for rule, model in models.items():
            part = predict(model, split, config, devices)
            if not torch.isfinite(part.logits).all():
                raise ValueError(f"logits of {rule}/{extra.name} contain NaN or infinite values")
            parts[rule] = part if extra.features else replace(part, features=None)
        write(extra, parts)


def kept_weights(cell: Cell, store: Store) -> WeightsByRule:
    """The weights of a finished cell, if its suite said ``keep: weights``.

    Raises:
        WeightsNotKeptError: they were not kept; the message says what to do.
        DamagedError: the file is truncated or altered.
    """
    return {rule: read_weights(store, cell.key, rule) for rule in cell.checkpoints}


def _model(cell: Cell, state: dict[str, torch.Tensor]) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        bare = cell.backbone.without_weights(cell.dataset)  # nothing is downloaded: all weights are in `state`
        model = build_classifier(cell.dataset, bare, cell.recipe, cell.seed)
    model.load_state_dict(state)
    return model.eval()
