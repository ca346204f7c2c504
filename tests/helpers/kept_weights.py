"""Predictions with the weights that a finished cell keeps, to compare with those that training left."""

from calbench.benchmark.predictions.predictions import Predictions
from calbench.benchmark.training.devices import make_devices
from calbench.benchmark.training.prediction import load_classifier, predict


def predict_splits(cell, store, splits):
    """Predictions of every split, by its name, under every checkpoint rule of the cell."""
    devices = make_devices("cpu", cell.training.precision)
    config = cell.backbone.data_config(cell.dataset)
    parts = {}
    for rule in cell.checkpoints:
        model = load_classifier(cell, store, rule, devices)
        parts |= {(rule, name): predict(model, split, config, devices) for name, split in splits.items()}
    return Predictions(parts)
