"""Training one cell: seeded, resumable at every epoch, one forward pass per batch."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from calbench.benchmark.config.cell import Cell
from calbench.benchmark.core import stopping
from calbench.benchmark.core.errors import CellError
from calbench.benchmark.data.batches import TrainBatches, batch_sizes
from calbench.benchmark.data.splits import CellData, prepare_data
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.benchmark.store.names import DamagedError
from calbench.benchmark.store.store import Store
from calbench.benchmark.store.weights import WeightsByRule
from calbench.benchmark.training.attention_curve import attention_course
from calbench.benchmark.training.checkpoints import Checkpoints
from calbench.benchmark.training.devices import Devices, make_devices
from calbench.benchmark.training.following import calibration_metrics
from calbench.benchmark.training.model import build_classifier
from calbench.benchmark.training.optimization import make_optimizer, make_schedule
from calbench.benchmark.training.prediction import predict
from calbench.benchmark.training.randomness import random_states, seed_everything, set_random_states
from calbench.benchmark.training.state import pack, unpack

OnEpoch = Callable[[int, dict[str, Any]], None]


def train_cell(
    cell: Cell, data_root: Path, device: str, store: Store, on_epoch: OnEpoch
) -> tuple[Predictions, dict[str, Any], WeightsByRule]:
    """Train a cell and predict its splits under every checkpoint rule.

    Args:
        cell: what to train.
        data_root: folder of downloaded datasets.
        device: ``auto``, ``cpu`` or ``cuda``.
        store: where the state of the running cell and its log are kept.
        on_epoch: called after every epoch with the number of epochs and the metrics of this one.

    Returns:
        The predictions, the manifest's entries about the run, and the weights that each checkpoint rule evaluates.

    Raises:
        CellError: the training diverged.
    """
    devices = make_devices(device, cell.training.precision)
    try:
        trainer = Trainer(cell, prepare_data(cell, data_root), devices)
        with stopping.deferred():
            _run(trainer, store, on_epoch)
        weights = trainer.weights()
        return trainer.predictions(weights), trainer.record(), weights
    finally:
        devices.release()


def _run(trainer: "Trainer", store: Store, on_epoch: OnEpoch) -> None:
    """Train from where the cell was left to its last epoch, with its state saved now and then."""
    cell = trainer.cell
    try:
        saved = store.state(cell.key)
        if saved is not None:
            trainer.restore(saved)
    except DamagedError as error:
        trainer.log.append(f"starting again: {error}")
    leader, last_saved, epochs = trainer.devices.rank == 0, time.perf_counter(), cell.training.epochs
    try:
        while trainer.epoch < epochs:
            trainer.train_epoch()
            due = time.perf_counter() - last_saved >= cell.training.save_seconds
            if leader and due and trainer.epoch < epochs:
                store.write_state(cell.key, trainer.state())
                store.write_log(cell.key, trainer.log)
                last_saved = time.perf_counter()
            on_epoch(epochs, trainer.history[-1])
        if stopping.requested():
            raise stopping.Stopped
    except stopping.Stopped:
        if trainer.devices.world == 1:  # of several processes each stops at another step
            with stopping.saving():
                store.write_state(cell.key, trainer.state())
        raise
    finally:
        if leader:
            store.write_log(cell.key, trainer.log)


@dataclass
class Trainer:
    """The state of one training run: everything that goes on from epoch to epoch."""

    cell: Cell
    data: CellData
    devices: Devices
    epoch: int = 0
    partial: dict[str, Any] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        cell, training = self.cell, self.cell.training
        if self.devices.world > 1 and "whole-batch" in cell.recipe.objective.needs:
            raise CellError(f"{cell.recipe.objective.spec.name} is defined on whole batches: train it in one process")
        self.model = build_classifier(cell.dataset, cell.backbone, cell.recipe, cell.seed).to(self.devices.device)
        optimizer = make_optimizer(self.model, training)
        runner = torch.compile(self.model) if training.compile else self.model
        self.forward, self.optimizer = self.devices.prepare(runner, optimizer)
        self.generator = torch.Generator()
        # Mixing needs the whole batch, so then every process draws all of it and takes its share afterwards.
        own, whole = (self.devices.rank, self.devices.world), (0, 1)
        mixing = bool(cell.recipe.augmentations)
        self.share_after_mixing = own if mixing else whole
        self.batches = TrainBatches(
            self.data.train,
            self.data.config,
            batch_size=training.batch_size,
            augment=training.augment,
            generator=self.generator,
            device=self.devices.device,
            shard=whole if mixing else own,
        )
        self.sizes = batch_sizes(len(self.data.train), training.batch_size)
        self.schedule = make_schedule(optimizer, training, len(self.batches))
        self.checkpoints = Checkpoints(cell.checkpoints)
        self.average = _average(self.model, training.ema)
        self.micro_batch = training.micro_batch or training.batch_size

    def train_epoch(self) -> None:
        """Train one epoch, or the rest of one that was stopped.

        Raises:
            CellError: the loss is not finite.
            Stopped: the process was asked to stop; `partial` is where it goes on.
        """
        started, updates = time.perf_counter(), self.epoch * len(self.batches)
        seed_everything(self.cell.seed, self.epoch, self.generator)
        self.model.train()
        total = torch.zeros((), dtype=torch.float64, device=self.devices.device)
        done = 0
        if self.partial is not None:
            done, total = self.partial["steps"], self.partial["total"].to(self.devices.device)
        for step, (images, labels) in enumerate(self.batches):
            if step >= done:
                self.schedule.step_update(updates + step)
                total += self._step(images, labels, self.sizes[step])
                if stopping.requested():
                    states = random_states(self.generator)
                    self.partial = {"steps": step + 1, "total": total, "random": states}
                    raise stopping.Stopped
            elif step == done - 1:  # batches sample at their start; restore the states saved at the stop
                set_random_states(cast("dict[str, Any]", self.partial)["random"], self.generator)
        self.partial = None
        self.epoch += 1
        loss = sum(self.devices.gather(total.item())) / len(self.batches)
        if not math.isfinite(loss):
            raise CellError(f"the training diverged: the loss is {loss} in epoch {self.epoch}")
        entry: dict[str, Any] = {"epoch": self.epoch, "loss": round(loss, 6)}
        if self.checkpoints.following:
            values = calibration_metrics(self._predict("calibration"), self.cell.bins)
            self.checkpoints.update(self.epoch, values, self.evaluated)
            entry |= {name: round(value, 6) for name, value in values.items()}
        if self.cell.training.attention_curve:
            entry |= attention_course(self.evaluated, self.data, self.devices, self.cell.bins)
        self.history.append(entry)
        self.log.append(f"{json.dumps(entry)} {time.perf_counter() - started:.2f} s")

    def _step(self, images: Tensor, labels: Tensor, size: int) -> Tensor:
        """One update on a batch of `size` samples over all processes; returns this process's part of the mean loss."""
        targets = labels
        for augmentation in self.cell.recipe.augmentations:
            if targets.ndim == 1:
                targets = one_hot(targets, self.cell.dataset.num_classes).to(images.dtype)
            images, targets = cast("Any", augmentation).mix(images, targets, self.generator)
        first, step = self.share_after_mixing
        images, targets = images[first::step], targets[first::step]
        self.devices.clear_gradients(self.optimizer)
        loss = self._backward(images, targets, size)
        if self.cell.training.clip:
            self.devices.clip(self.model, self.cell.training.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model)
        return loss

    def _backward(self, images: Tensor, targets: Tensor, size: int) -> Tensor:
        """Gradients of a batch, in micro-batches if the whole batch exceeds the memory."""
        while True:
            try:
                return self._accumulate(images, targets, size)
            except torch.cuda.OutOfMemoryError:
                if self.micro_batch <= 1 or "whole-batch" in self.cell.recipe.objective.needs:
                    raise
                self.devices.clear_gradients(self.optimizer)
                torch.cuda.empty_cache()
                self.micro_batch = math.ceil(min(self.micro_batch, len(images)) / 2)
                self.log.append(f"CUDA out of memory: going on with micro-batches of {self.micro_batch}")

    def _accumulate(self, images: Tensor, targets: Tensor, size: int) -> Tensor:
        total = torch.zeros((), device=images.device)
        for start in range(0, len(images), self.micro_batch):
            part = slice(start, start + self.micro_batch)
            share = len(images[part]) / size
            loss = self.cell.recipe.objective.loss(self.forward(images[part]), targets[part]) * share
            self.devices.backward(loss * self.devices.world)  # gradients are averaged over the processes
            total += loss.detach()
        return total

    @property
    def evaluated(self) -> nn.Module:
        """The model that is evaluated: with the moving average of the weights, if the suite asks for it."""
        return self.model if self.average is None else self.average.module

    def _predict(self, split: str) -> SplitPredictions:
        part = self.data.evaluated[split]
        return predict(self.evaluated, part, self.data.config, self.devices)

    def weights(self) -> WeightsByRule:
        """The weights that each checkpoint rule evaluates; rules that chose the last epoch share theirs."""
        final = {name: tensor.clone() for name, tensor in self.evaluated.state_dict().items()}
        return {rule: self.checkpoints.weights(rule) or final for rule in self.cell.checkpoints}

    def predictions(self, weights: WeightsByRule) -> Predictions:
        """Predict every split with the `weights` of every checkpoint rule."""
        splits: dict[tuple[str, str], SplitPredictions] = {}
        for rule, state in weights.items():
            self.evaluated.load_state_dict(state)
            for split in self.data.evaluated:
                splits[rule, split] = self._predict(split)
        return Predictions(splits)

    def record(self) -> dict[str, Any]:
        """The manifest's entries about the run."""
        head, info = self.cell.recipe.head, self.cell.backbone.info(self.cell.dataset)
        return {
            "history": self.history,
            "checkpoints": self.checkpoints.epochs(self.epoch),
            "note": head.note(info) if head else None,
            **self.model.parameter_counts(),
        }

    def state(self) -> bytes:
        """Everything that the next epoch depends on. Random states are functions of seed and epoch."""
        return pack(
            {
                "epoch": self.epoch,
                "partial": self.partial,
                "history": self.history,
                "log": self.log,
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "best": self.checkpoints.best,
                "average": None if self.average is None else self.average.state_dict(),
            }
        )

    def restore(self, data: bytes) -> None:
        """Go on from `state`; a damaged state is ignored, and the cell starts again."""
        try:
            state = unpack(data)
        except ValueError as error:
            self.log.append(f"starting again: {error}")
            return
        self.epoch, self.history, self.partial = state["epoch"], state["history"], state["partial"]
        within = f" and {self.partial['steps']} steps" if self.partial else ""
        self.log = [*state["log"], f"going on after epoch {self.epoch}{within}"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.checkpoints.restore(state["best"], self.devices.device)
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def _average(model: nn.Module, decay: float) -> Any:
    if not decay:
        return None
    from timm.utils import ModelEmaV3

    return ModelEmaV3(model, decay=decay)
