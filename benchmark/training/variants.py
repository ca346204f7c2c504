"""Predictions of a trained network under variants: one pass or the mean of several, without training."""

from collections.abc import Mapping

import torch
from torch import Tensor

from calbench.benchmark.config.cell import Cell
from calbench.benchmark.config.training import CheckpointRule
from calbench.benchmark.data.batches import EvalBatches
from calbench.benchmark.predictions.predictions import SplitPredictions
from calbench.benchmark.store.store import Store
from calbench.benchmark.training.devices import Devices
from calbench.benchmark.training.prediction import EVAL_BATCH, load_classifier
from calbench.benchmark.variants import Draw, Forward, Variant
from calbench.datasets import Split
from calbench.methods import Outputs

COLUMNS = ("logits", "features", "temperature")


def predict_variants(
    cell: Cell,
    rule: CheckpointRule,
    variants: tuple[Variant, ...],
    splits: Mapping[str, Split],
    store: Store,
    devices: Devices,
) -> dict[str, SplitPredictions]:
    """Predict splits with the kept weights of a cell under variants.

    Args:
        cell: a trained cell, whose suite has ``keep: weights``.
        rule: the checkpoint rule whose weights are used.
        variants: at most one of them with several passes; applied in order.
        splits: images and labels by name.
        store: where the weights are.
        devices: where to run.

    Returns:
        Predictions by split. With one pass logits, features and temperatures of the changed network; with several the
        logarithm of the mean probability as logits (N, K), and no features or temperatures.

    Raises:
        WeightsNotKeptError: the weights were not kept; the message says what to do.
        InputError: a variant cannot work on this network.
    """
    network = load_classifier(cell, store, rule, devices)
    config = cell.backbone.data_config(cell.dataset)
    for variant in variants:
        config = variant.config(config)
    for variant in variants:
        variant.prepare(network, config)

    def plain(images: Tensor, draw: Draw) -> Outputs:
        return network(images)

    forward: Forward = plain
    for variant in variants:
        forward = variant.wrap(forward, network, config, cell.dataset)
    passes = max((variant.passes for variant in variants), default=1)
    network.to(devices.device).eval()
    predicted = {}
    for name, split in splits.items():
        batches = EvalBatches(split, config, batch_size=EVAL_BATCH, device=devices.device)
        predicted[name] = _predict(forward, batches, split, passes, Draw(cell.seed, name), devices)
    return predicted


def _predict(
    forward: Forward, batches: EvalBatches, split: Split, passes: int, draw: Draw, devices: Devices
) -> SplitPredictions:
    columns: dict[str, list[Tensor]] = {name: [] for name in COLUMNS}
    with torch.inference_mode(), devices.autocast():
        for number, (images, _) in enumerate(batches):
            if passes > 1:
                columns["logits"].append(_mean_of_passes(forward, images, passes, draw, number))
                continue
            outputs = forward(images, Draw(draw.seed, draw.split, 0, number))
            for name, parts in columns.items():
                value = getattr(outputs, name)
                if value is not None:
                    parts.append(value.float().cpu())
    whole = {name: torch.cat(parts) for name, parts in columns.items() if parts}
    return SplitPredictions(labels=split.labels.cpu(), posterior=split.posterior, **whole)


def _mean_of_passes(forward: Forward, images: Tensor, passes: int, draw: Draw, number: int) -> Tensor:
    """The logarithm of the mean probability of several passes (N, K), float32."""
    log_p = [
        forward(images, Draw(draw.seed, draw.split, index, number)).logits.double().log_softmax(1).cpu()
        for index in range(passes)
    ]
    return (torch.stack(log_p).logsumexp(0) - torch.tensor(float(passes)).double().log()).float()
