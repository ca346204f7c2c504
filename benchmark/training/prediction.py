"""Predictions of a network: on the splits of a running cell, or on any split with stored weights."""

import torch
from torch import Tensor, nn

from calbench.benchmark.backbones import DataConfig
from calbench.benchmark.config.cell import Cell
from calbench.benchmark.config.training import CheckpointRule
from calbench.benchmark.data.batches import EvalBatches
from calbench.benchmark.predictions.predictions import SplitPredictions
from calbench.benchmark.store.store import Store
from calbench.benchmark.store.weights import read_weights
from calbench.benchmark.training.devices import Devices
from calbench.benchmark.training.model import Classifier, build_classifier
from calbench.datasets import Split

EVAL_BATCH = 512


def predict(model: nn.Module, split: Split, config: DataConfig, devices: Devices) -> SplitPredictions:
    """Run `model` over a split under the test transform; several processes share it, each sample once.

    Args:
        model: gives `calbench.methods.Outputs` for images (N, C, S, S).
        split: N images and labels.
        config: how the images become the network's input.
        devices: where to run, and at which precision.

    Returns:
        Logits (N, K), features (N, D) and temperatures (N,) in float32, in the order of the split.
    """
    model.eval()
    indices = torch.arange(devices.rank, len(split), devices.world)
    share = split if devices.world == 1 else split.subset(indices)
    columns: dict[str, list[Tensor]] = {"logits": [], "features": [], "temperature": []}
    with torch.inference_mode(), devices.autocast():
        for images, _ in EvalBatches(share, config, batch_size=EVAL_BATCH, device=devices.device):
            outputs = model(images)
            for name, parts in columns.items():
                value = getattr(outputs, name)
                if value is not None:
                    parts.append(value.float().cpu())
    mine = {name: torch.cat(parts) for name, parts in columns.items() if parts}
    whole = _interleaved(devices.gather(mine), len(split))
    return SplitPredictions(labels=split.labels.cpu(), posterior=split.posterior, **whole)


def _interleaved(shares: list[dict[str, Tensor]], count: int) -> dict[str, Tensor]:
    """Put the processes' every n-th samples back in order."""
    if len(shares) == 1:
        return shares[0]
    whole = {name: part.new_empty(count, *part.shape[1:]) for name, part in shares[0].items()}
    for rank, share in enumerate(shares):
        for name, part in share.items():
            whole[name][rank :: len(shares)] = part
    return whole


def load_classifier(cell: Cell, store: Store, rule: CheckpointRule, devices: Devices) -> Classifier:
    """The network of a finished cell, with the weights that a checkpoint rule evaluated, in evaluation mode.

    Args:
        cell: a trained cell, whose suite has ``keep: weights``, or one without training, whose network is built again.
        store: where it is.
        rule: one of ``cell.checkpoints``.
        devices: where the network goes.

    Raises:
        WeightsNotKeptError: the weights were not kept; the message says what to do.
        DamagedError: the file is truncated or altered.
    """
    weights = read_weights(store, cell.key, rule) if cell.training.epochs else None
    # Nothing is downloaded for a trained cell: all of its weights come from the store.
    backbone = cell.backbone.without_weights(cell.dataset) if weights else cell.backbone
    with torch.random.fork_rng(devices=[]):
        model = build_classifier(cell.dataset, backbone, cell.recipe, cell.seed)
    if weights:
        model.load_state_dict(weights)
    return model.to(devices.device).eval()
