"""What is recorded of attention after an epoch: its entropy, next to the metrics of the calibration split."""

import torch
from torch import Tensor, nn

from calbench.benchmark import metrics
from calbench.benchmark.backbones.attention import attention_scores, normalised_entropy
from calbench.benchmark.data.batches import EvalBatches
from calbench.benchmark.data.splits import CellData, random_indices
from calbench.benchmark.training.devices import Devices
from calbench.benchmark.training.prediction import predict

AFFECTS_RESULTS = False
IMAGES, BATCH = 256, 64
METRICS = ("accuracy", "nll", "ece", "signed-gap")
ENTROPY = "attention-entropy-"
"""What the recorded entropy of a block is named by, before its number from 1."""


def attention_course(model: nn.Module, data: CellData, devices: Devices, bins: int) -> dict[str, float]:
    """Metrics of the calibration split, and the attention entropy of every block on 256 of its images.

    No random numbers are drawn, and the weights stay as they are.

    Args:
        model: the network that is evaluated.
        data: with a calibration split.
        devices: where to run, and at which precision.
        bins: of the ECE.

    Returns:
        Accuracy, NLL, ECE and confidence minus accuracy, then ``attention-entropy-1`` and so on: the mean over images,
        heads and queries of the entropy over log N; 1 is even attention.

    Raises:
        InputError: the network has no attention.
    """
    part = predict(model, data.evaluated["calibration"], data.config, devices)
    values = metrics.evaluate(logits=part.logits, labels=part.labels, metrics=METRICS, bins=bins)
    entropies = attention_entropies(model, data, devices)
    values |= {f"{ENTROPY}{block}": value for block, value in enumerate(entropies, 1)}
    return {name: round(value, 6) for name, value in values.items()}


def attention_entropies(model: nn.Module, data: CellData, devices: Devices) -> list[float]:
    """The entropy of each block's attention over log N, mean over calibration images, heads and queries."""
    split = data.evaluated["calibration"]
    chosen = split.subset(random_indices(len(split), IMAGES))
    totals: dict[str, float] = {}
    count = 0

    def see(block: str, scores: Tensor) -> None:
        totals[block] = totals.get(block, 0.0) + normalised_entropy(scores.float()).sum().item() / len(scores) * count

    model.eval()
    with torch.inference_mode(), devices.autocast(), attention_scores(model, see):
        for images, _ in EvalBatches(chosen, data.config, batch_size=BATCH, device=devices.device):
            count = len(images)
            model(images)
    return [total / len(chosen) for total in totals.values()]
