"""The attention of one trained cell on some of its test images: measures per sample, and maps."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from calbench.benchmark.backbones.attention import attention_blocks, attention_scores, normalised_entropy
from calbench.benchmark.config.cell import Cell
from calbench.benchmark.core.seeds import seed_for
from calbench.benchmark.data.batches import EvalBatches
from calbench.benchmark.data.splits import random_indices
from calbench.benchmark.diagnostics import significance as tests
from calbench.benchmark.diagnostics.scores import patch_attention, rollout, spikiness
from calbench.benchmark.store.store import Store
from calbench.benchmark.training.devices import make_devices
from calbench.benchmark.training.prediction import load_classifier
from calbench.benchmark.variants._null import Null, null_images
from calbench.benchmark.variants.attention_regularised import patch_size
from calbench.datasets import Split
from calbench.methods import Outputs

BATCH = 64
MAPS = 6
"""Images whose maps are kept for the figure."""


@dataclass(frozen=True)
class Options:
    """How attention is diagnosed.

    Attributes:
        images: test images, a random subset.
        null_images: how many of them are compared with null images; the other measures are of all.
        null: how null images are made (`calbench.benchmark.variants._null.null_images`).
        draws: null images per image.
        level: false discovery rate of Benjamini and Hochberg.
    """

    images: int = 256
    null_images: int = 256
    null: Null = "pixel"
    draws: int = 20
    level: float = 0.05


@dataclass
class Attention:
    """What was measured on N images of one cell.

    Attributes:
        measures: per sample (N,), by name and block (``""`` for measures of the whole network).
        correct: whether the prediction is right (N,).
        confidence: of the prediction (N,).
        temperature: the head's temperature (N,), or None.
        logits: (N, K).
        maps: up to `MAPS` of (image, attention on patches, regularised attention), or none.
    """

    measures: dict[tuple[str, str], np.ndarray]
    correct: np.ndarray
    confidence: np.ndarray
    temperature: np.ndarray | None
    logits: Tensor
    maps: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)


def diagnose_cell(cell: Cell, store: Store, test: Split, options: Options, device: str = "auto") -> Attention:
    """Measure the attention of a finished cell.

    Args:
        cell: a trained cell, whose suite has ``keep: weights``.
        store: where it is.
        test: its test split.
        options: how.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        WeightsNotKeptError: the weights were not kept; the message says what to do.
        InputError: the network has no attention.
    """
    devices = make_devices(device, cell.training.precision)
    network = load_classifier(cell, store, cell.checkpoints[0], devices)
    probe = _Probe(network, cell, options)
    split = test.subset(random_indices(len(test), options.images))
    batches = EvalBatches(split, cell.backbone.data_config(cell.dataset), batch_size=BATCH, device=devices.device)
    with torch.inference_mode(), devices.autocast():
        for number, (images, labels) in enumerate(batches):
            probe.add(images, labels, number)
    return probe.result()


class _Probe:
    """Gathers the measures batch by batch."""

    def __init__(self, network: nn.Module, cell: Cell, options: Options) -> None:
        self.network, self.options, self.seed = network, options, cell.seed
        attention_blocks(network)  # raises an error if there is none
        backbone: Any = network.backbone
        self.has_cls_token = bool(backbone.has_cls_token)
        self.prefix = int(backbone.prefix_tokens)
        self.patch = patch_size(network)
        self.measures: dict[tuple[str, str], list[np.ndarray]] = {}
        self.columns: dict[str, list[Tensor]] = {"logits": [], "temperature": [], "labels": []}
        self.maps: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, images: Tensor, labels: Tensor, number: int) -> None:
        scores, outputs = self._scores(images)
        self.columns["logits"].append(outputs.logits.float().cpu())
        self.columns["labels"].append(labels.cpu())
        if outputs.temperature is not None:
            self.columns["temperature"].append(outputs.temperature.float().cpu())
        for block, values in enumerate(scores.values()):
            per_image = _per_image(values, len(images))
            self._keep("entropy", str(block), normalised_entropy(per_image))
            self._keep("spikiness", str(block), spikiness(per_image))
        count = min(len(images), max(0, self.options.null_images - number * BATCH))
        if self._is_global(scores) and count:
            first = [values[:count] for values in scores.values()]
            self._patches(images[:count], outputs.logits[:count].argmax(1).cpu(), first, number)

    def _scores(self, images: Tensor) -> tuple[dict[str, Tensor], Outputs]:
        seen: dict[str, Tensor] = {}
        with attention_scores(self.network, lambda name, values: seen.__setitem__(name, values.float())):
            outputs = self.network(images)
        return seen, outputs

    def _is_global(self, scores: dict[str, Tensor]) -> bool:
        """Whether every block attends over the same tokens of the whole image, as in a ViT (not in Swin)."""
        shapes = {values.shape for values in scores.values()}
        return self.prefix > 0 and len(shapes) == 1

    def _patches(self, images: Tensor, classes: Tensor, blocks: list[Tensor], number: int) -> None:
        """Significance of the last block's attention, and the share of rollout on a patch replaced by noise."""
        observed = patch_attention(blocks[-1], self.prefix, self.has_cls_token).cpu().numpy()
        nulls = np.stack([one.cpu().numpy() for one in self._null_attention(images, number)])
        share, discovered = [], []
        for i, scores in enumerate(observed):
            p_values = tests.null_p_values(scores, nulls[:, i])
            significant = tests.benjamini_hochberg(p_values, self.options.level)
            share.append(significant.mean())
            discovered.append((tests.local_fdr(p_values) <= self.options.level).mean())
            if len(self.maps) < MAPS:
                image = images[i].float().cpu().numpy()
                self.maps.append((image, scores, tests.regularised(scores, significant)))
        self._keep("significant-share", "", np.array(share))
        self._keep("significant-share-lfdr", "", np.array(discovered))
        self._perturbed(images, classes, number)

    def _null_attention(self, images: Tensor, number: int) -> Iterator[Tensor]:
        for index in range(self.options.draws):
            generator = torch.Generator().manual_seed(seed_for(self.seed, "attention-null", "diagnose", number, index))
            scores, _ = self._scores(null_images(images, self.options.null, self.patch, generator))
            yield patch_attention(list(scores.values())[-1], self.prefix, self.has_cls_token)

    def _perturbed(self, images: Tensor, classes: Tensor, number: int) -> None:
        """Rollout on a patch of noise, over its even share; shrinkage and sparsity there; whether the class changes."""
        generator = torch.Generator().manual_seed(seed_for(self.seed, "attention-patch", number))
        changed, places = with_noise_patch(images, self.patch, generator)
        scores, outputs = self._scores(changed)
        blocks = list(scores.values())
        mass = patch_attention(rollout(blocks), self.prefix, self.has_cls_token).cpu()
        picked = mass[torch.arange(len(mass)), places]
        self._keep("rollout-on-noise", "", (picked * mass.shape[1]).numpy())
        self._keep("changed-by-noise", "", (outputs.logits.argmax(1).cpu() != classes).double().numpy())
        observed = patch_attention(blocks[-1], self.prefix, self.has_cls_token).cpu().numpy()
        nulls = np.stack([one.cpu().numpy() for one in self._null_attention(changed, number)])
        shrunk, sparse = [], []
        for i, values in enumerate(observed):
            region = np.arange(len(values)) == int(places[i])
            keep = tests.benjamini_hochberg(tests.null_p_values(values, nulls[:, i]), self.options.level)
            after = tests.regularised(values, keep)
            shrunk.append(tests.shrinkage(values, after, region))
            sparse.append(tests.sparsity(after, region))
        self._keep("shrinkage-on-noise", "", np.array(shrunk))
        self._keep("sparsity-on-noise", "", np.array(sparse))

    def _keep(self, measure: str, block: str, values: Tensor | np.ndarray) -> None:
        array = values.cpu().numpy() if isinstance(values, Tensor) else values
        self.measures.setdefault((measure, block), []).append(array.astype(np.float64))

    def result(self) -> Attention:
        logits, labels = torch.cat(self.columns["logits"]), torch.cat(self.columns["labels"])
        confidence, predicted = logits.double().softmax(1).max(1)
        temperature = torch.cat(self.columns["temperature"]).numpy() if self.columns["temperature"] else None
        measures = {key: _padded(np.concatenate(parts), len(labels)) for key, parts in self.measures.items()}
        return Attention(measures, (predicted == labels).numpy(), confidence.numpy(), temperature, logits, self.maps)


def _padded(values: np.ndarray, count: int) -> np.ndarray:
    """Measures of the first images as those of `count` images, NaN where nothing was measured."""
    return np.concatenate([values, np.full(count - len(values), np.nan)])


def _per_image(scores: Tensor, count: int) -> Tensor:
    """Scores of windows (N windows, heads, M, M) as (N, windows x heads, M, M); of whole images as they are."""
    return scores.unflatten(0, (count, -1)).flatten(1, 2)


def with_noise_patch(images: Tensor, patch: tuple[int, int], generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One patch of every image replaced by Gaussian noise with the mean and deviation of the image's channels.

    Args:
        images: (N, C, H, W).
        patch: height and width in pixels.
        generator: a CPU generator.

    Returns:
        The images, and the index of the patch in each, row by row (N,).
    """
    count, channels, rows, columns = images.shape
    height, width = patch
    grid = columns // width
    places = torch.randint((rows // height) * grid, (count,), generator=generator)
    noise = torch.randn((count, channels, height, width), generator=generator).to(images)
    noise = images.mean((2, 3), keepdim=True) + noise * images.std((2, 3), correction=0, keepdim=True)
    changed = images.clone()
    for i, place in enumerate(places.tolist()):
        top, left = (place // grid) * height, (place % grid) * width
        changed[i, :, top : top + height, left : left + width] = noise[i]
    return changed, places
