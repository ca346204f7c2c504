"""Diagnoses a suite: tidy tables of the attention of its trained cells and of the effects of their variants."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from calbench.benchmark import metrics
from calbench.benchmark.backbones.attention import query_temperature
from calbench.benchmark.config.cell import Cell, Keyed
from calbench.benchmark.config.derived_cell import VariantCell
from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.core.seeds import seed_for
from calbench.benchmark.data.batches import EvalBatches
from calbench.benchmark.data.splits import prepare_data, random_indices
from calbench.benchmark.diagnostics.cell import BATCH, Attention, Options, diagnose_cell, with_noise_patch
from calbench.benchmark.diagnostics.course import course_rows, order_row
from calbench.benchmark.diagnostics.relations import Relation, misclassification_auroc, rank_correlation
from calbench.benchmark.diagnostics.tempnet import TempNetControl, tempnet_temperatures
from calbench.benchmark.predictions.predictions import Predictions
from calbench.benchmark.store.store import Store
from calbench.benchmark.training.devices import make_devices
from calbench.benchmark.training.prediction import load_classifier
from calbench.benchmark.training.untrained import evaluated_splits
from calbench.benchmark.variants.attention_regularised import patch_size
from calbench.benchmark.variants.attention_temperature import AttentionTemperature
from calbench.datasets import Split

CURVE = ("accuracy", "nll", "ece")
PLACE = ["dataset", "backbone", "recipe", "seed"]
ATTENTION_COLUMNS = [*PLACE, "measure", "block", "value", "low", "high", "samples"]
RELATION_COLUMNS = [*PLACE, "measure", "block", "target", "statistic", "value", "low", "high", "samples"]
CURVE_COLUMNS = [*PLACE, "temperature", "split", *CURVE, "changed", "changed_by_noise"]
COURSE_COLUMNS = [*PLACE, "epoch", "attention_entropy", "signed_gap", "accuracy", "nll"]
ORDER_COLUMNS = [
    *PLACE, "entropy_first", "entropy_last", "gap_lowest", "gap_last", "entropy_half", "gap_half", "lead",
]  # fmt: skip
CONTROL_COLUMNS = [*PLACE, "gap", "entropy_target", "nll_tempnet", "nll_control"]


@dataclass
class Diagnosis:
    """Rows of the tables, attention maps of some images by cell, and the cells without a diagnosis."""

    attention: list[dict[str, Any]] = field(default_factory=list)
    relations: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    control: list[dict[str, Any]] = field(default_factory=list)
    course: list[dict[str, Any]] = field(default_factory=list)
    order: list[dict[str, Any]] = field(default_factory=list)
    maps: dict[str, list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def frames(self) -> dict[str, pd.DataFrame]:
        """The tables by name."""
        return {
            "attention": pd.DataFrame(self.attention, columns=ATTENTION_COLUMNS),
            "relations": pd.DataFrame(self.relations, columns=RELATION_COLUMNS),
            "temperature-curve": pd.DataFrame(self.curves, columns=CURVE_COLUMNS),
            "tempnet-control": pd.DataFrame(self.control, columns=CONTROL_COLUMNS),
            "entropy-course": pd.DataFrame(self.course, columns=COURSE_COLUMNS),
            "entropy-order": pd.DataFrame(self.order, columns=ORDER_COLUMNS),
        }


def diagnose(
    cells: Iterable[Keyed],
    store: Store,
    root: Path,
    options: Options,
    device: str = "auto",
    progress: Callable[[str], None] = lambda line: None,
) -> Diagnosis:
    """Diagnose the finished cells of a suite.

    Args:
        cells: of the suite's plan.
        store: where they are.
        root: folder of downloaded datasets.
        options: how attention is measured.
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: gets a line before each cell.

    Raises:
        InputError: no trained cell could be diagnosed; the message has the first reason.
    """
    diagnosis = Diagnosis()
    listed = list(cells)
    for cell in listed:
        if not isinstance(cell, Cell):
            continue
        progress(cell.describe())
        try:
            _add_cell(diagnosis, cell, store, root, options, device)
        except InputError as error:
            diagnosis.notes.append(f"{cell.describe()}: {error}")
    curves: dict[str, list[tuple[float, Keyed, Cell]]] = {}
    for cell in listed:
        if isinstance(cell, VariantCell) and store.status(cell.key) == "done":
            temperature = _only_temperature(cell)
            if temperature is not None:
                plain = (1.0, cell.cell, cell.cell)
                curves.setdefault(cell.cell.key, [plain]).append((temperature, cell, cell.cell))
    for temperature, cell, trained in (point for curve in curves.values() for point in curve):
        progress(f"attention temperature {temperature}: {trained.describe()}")
        predictions = store.predictions(cell.key)
        diagnosis.curves += _curve_rows(trained, temperature, predictions, store, root, options, device)
    if not diagnosis.attention:
        raise InputError(f"nothing to diagnose: {(diagnosis.notes or ['the suite has no trained cell'])[0]}")
    return diagnosis


def _place(cell: Keyed) -> dict[str, Any]:
    return {
        "dataset": cell.dataset.spelled(), "backbone": cell.backbone.spelled(), "recipe": cell.recipe_name,
        "seed": cell.seed,
    }  # fmt: skip


def _splits(cell: Cell, root: Path) -> dict[str, Split]:
    return prepare_data(cell, root).evaluated if cell.training.epochs else evaluated_splits(cell, root)


def _add_cell(diagnosis: Diagnosis, cell: Cell, store: Store, root: Path, options: Options, device: str) -> None:
    if store.status(cell.key) != "done":
        raise InputError("not computed yet, or failed; run the suite first")
    attention = diagnose_cell(cell, store, _splits(cell, root)["test"], options, device)
    place = _place(cell)
    for (measure, block), values in attention.measures.items():
        diagnosis.attention.append(place | {"measure": measure, "block": block} | _mean(values))
    control = tempnet_temperatures(store.predictions(cell.key), cell.checkpoints[0])
    targets = _targets(attention, control)
    for (measure, block), values in attention.measures.items():
        where = place | {"measure": measure, "block": block}
        auroc = misclassification_auroc(values, attention.correct)
        diagnosis.relations.append(where | _relation("misclassification", "auroc", auroc))
        for target, numbers in targets.items():
            relation = rank_correlation(values, numbers)
            diagnosis.relations.append(where | _relation(target, "spearman", relation))
    diagnosis.control.append(place | control.row())
    course = course_rows(place, store.manifest(cell.key).get("history", []))
    if len(course) > 1:
        diagnosis.course += course
        diagnosis.order.append(order_row(place, course))
    diagnosis.maps[cell.describe()] = attention.maps


def _targets(attention: Attention, control: TempNetControl) -> dict[str, np.ndarray]:
    """What the measures are correlated with: confidence, the head's temperature, that of a post-hoc TempNet."""
    targets = {"confidence": attention.confidence}
    if attention.temperature is not None:
        targets["head temperature"] = attention.temperature
    targets["tempnet-posthoc temperature"] = control.of(attention.logits)
    return targets


def _mean(values: np.ndarray) -> dict[str, float]:
    """Mean over the samples where it is defined, with its normal 95 % interval."""
    known = values[np.isfinite(values)]
    if not len(known):
        return {"value": float("nan"), "low": float("nan"), "high": float("nan"), "samples": 0}
    mean, error = known.mean(), known.std(ddof=1) / np.sqrt(len(known)) if len(known) > 1 else float("nan")
    return {"value": mean, "low": mean - 1.96 * error, "high": mean + 1.96 * error, "samples": len(known)}


def _relation(target: str, statistic: str, relation: Relation) -> dict[str, Any]:
    return {"target": target, "statistic": statistic, **vars(relation)}


def _only_temperature(cell: VariantCell) -> float | None:
    """The temperature of a cell whose one variant is an attention temperature."""
    variant = cell.variants[0]
    if len(cell.variants) > 1 or not isinstance(variant, AttentionTemperature):
        return None
    return variant.temperature


def _curve_rows(
    cell: Cell, temperature: float, predictions: Predictions, store: Store, root: Path, options: Options, device: str
) -> list[dict[str, Any]]:
    """Metrics of every split at one attention temperature, and the shares of changed predictions in per cent.

    ``changed`` is against the network without a temperature; ``changed_by_noise`` is what one patch of noise changes
    under this temperature, on the diagnosed images of the test split.
    """
    rule, plain = cell.checkpoints[0], store.predictions(cell.key)
    place = _place(cell) | {"temperature": temperature}
    rows = []
    for split in predictions.split_names(rule):
        part = predictions[rule, split]
        changed = (part.logits.argmax(1) != plain[rule, split].logits.argmax(1)).double().mean()
        row = place | {"split": split, "changed": 100 * float(changed), "changed_by_noise": float("nan")}
        if not split.startswith("ood-"):
            row |= metrics.evaluate(**part.scores(), labels=part.labels, metrics=list(CURVE), bins=DEFAULT_BINS)
        if split == "test":
            chosen = random_indices(len(part), options.images)
            images = _splits(cell, root)["test"].subset(chosen)
            noisy = _classes_with_noise(cell, temperature, images, store, device)
            row["changed_by_noise"] = 100 * float((noisy != part.logits[chosen].argmax(1)).double().mean())
        rows.append(row)
    return rows


def _classes_with_noise(cell: Cell, temperature: float, images: Split, store: Store, device: str) -> Tensor:
    """The predicted classes of N images, each with one patch of noise (N,)."""
    devices = make_devices(device, cell.training.precision)
    network = load_classifier(cell, store, cell.checkpoints[0], devices)
    batches = EvalBatches(images, cell.backbone.data_config(cell.dataset), batch_size=BATCH, device=devices.device)
    classes = []
    with torch.inference_mode(), devices.autocast(), query_temperature(network, temperature):
        for number, (batch, _) in enumerate(batches):
            generator = torch.Generator().manual_seed(seed_for(cell.seed, "attention-patch", number))
            changed, _ = with_noise_patch(batch, patch_size(network), generator)
            classes.append(network(changed).logits.argmax(1).cpu())
    return torch.cat(classes)
