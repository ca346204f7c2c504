"""Training of recipes with methods that act on a whole run: a loss with a state, several views, procedures.

A module of its own, so that what it adds is part of the keys of such recipes only: see `Cell.code`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.optim.swa_utils import update_bn

from calbench.benchmark.config.cell import Cell
from calbench.benchmark.core import stopping
from calbench.benchmark.core.errors import CellError
from calbench.benchmark.data.batches import Batch, TrainBatches, batch_sizes
from calbench.benchmark.data.splits import prepare_data
from calbench.benchmark.predictions.predictions import Predictions, SplitPredictions
from calbench.benchmark.store.store import Store
from calbench.benchmark.store.weights import WeightsByRule
from calbench.benchmark.training.devices import make_devices
from calbench.benchmark.training.prediction import predict
from calbench.benchmark.training.randomness import seed_everything
from calbench.benchmark.training.state import pack, unpack
from calbench.benchmark.training.trainer import OnEpoch, Trainer, _run
from calbench.methods import Augmentation, Outputs
from calbench.methods.running import (
    Combine,
    LossState,
    ProcedureState,
    Run,
    StagedAugmentation,
    StatefulObjective,
    ViewAugmentation,
)


def train_extended(
    cell: Cell, data_root: Path, device: str, store: Store, on_epoch: OnEpoch
) -> tuple[Predictions, dict[str, Any], WeightsByRule]:
    """Train a cell of such a recipe, as `calbench.benchmark.training.trainer.train_cell` does others.

    Raises:
        CellError: the training diverged; several processes; images that an augmentation cannot change.
    """
    devices = make_devices(device, cell.training.precision)
    try:
        trainer = ExtendedTrainer(cell, prepare_data(cell, data_root), devices)
        with stopping.deferred():
            _run(trainer, store, on_epoch)
        weights = trainer.weights()
        return trainer.predictions(weights), trainer.record(), weights
    finally:
        devices.release()


class NumberedBatches:
    """Training batches that know which samples the last one has, in the order and with the crops of `TrainBatches`.

    Args:
        batches: what is iterated.
        staged: changes the stored images before they are resized and normalised, or None.

    Attributes:
        samples: the numbers of the last batch's samples (n,) int64, on the CPU.
    """

    def __init__(self, batches: TrainBatches, staged: StagedAugmentation | None) -> None:
        self.batches = batches
        self.samples = torch.empty(0, dtype=torch.int64)
        if staged is not None:
            cast("Any", self.batches).transform = _Staged(staged, batches.transform, batches.generator)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        """One epoch, as of `TrainBatches`."""
        generator, order = self.batches.generator, torch.Generator()
        order.set_state(generator.get_state())  # the permutation that the batches are about to take
        chunks = torch.randperm(len(self.batches.split), generator=order).split(self.sizes)
        for chunk, batch in zip(chunks, self.batches, strict=True):
            self.samples = chunk
            yield batch

    @property
    def sizes(self) -> list[int]:
        """The numbers of samples of the batches."""
        return batch_sizes(len(self.batches.split), self.batches.batch_size)


@dataclass
class _Staged:
    """A staged augmentation, then the transform of the batches."""

    augmentation: StagedAugmentation
    transform: Callable[[Tensor], Tensor]
    generator: torch.Generator

    def __call__(self, images: Tensor) -> Tensor:
        if images.dtype != torch.uint8 or images.shape[1] not in (1, 3):
            raise CellError(
                f"{self.augmentation.spec.name} changes 8-bit images of one or three channels; these are {images.dtype}"
                f" of {images.shape[1]}"
            )
        return self.transform(self.augmentation.augment(images.cpu(), self.generator).to(images.device))


class ExtendedTrainer(Trainer):
    """A `Trainer` whose loss has a state, whose samples have several views, or whose updates are not plain.

    The states of the methods are saved with the state of the running cell.
    """

    def __post_init__(self) -> None:
        if self.devices.world > 1:
            raise CellError(f"{self.cell.recipe.name}: train it in one process")
        super().__post_init__()
        recipe, training = self.cell.recipe, self.cell.training
        run = Run(len(self.data.train), self.cell.dataset.num_classes, training.epochs, len(self.batches), training.lr)
        objective = recipe.objective
        self.loss_state: LossState | None = objective.start(run) if isinstance(objective, StatefulObjective) else None
        self.procedures: list[ProcedureState] = [procedure.start(run) for procedure in recipe.procedures]
        self.views = next((a for a in recipe.augmentations if isinstance(a, ViewAugmentation)), None)
        staged = next((a for a in recipe.augmentations if isinstance(a, StagedAugmentation)), None)
        self.numbered = NumberedBatches(cast("TrainBatches", self.batches), staged)
        self.batches = self.numbered
        self.schedule = _Schedule(self.schedule, self.optimizer, self.procedures)
        self.combine: Combine | None = None
        self.last_logits: list[Tensor] = []
        self.collected = self.normed = 0

    def train_epoch(self) -> None:
        """Train one epoch; then let loss and procedures look at what it led to."""
        super().train_epoch()
        self._collect()
        if self.loss_state is not None and self.epoch < self.cell.training.epochs:
            reads = getattr(self.cell.recipe.objective, "reads_calibration", False)
            self.loss_state.end_epoch(self.epoch, self._calibration() if reads else None)

    def _calibration(self) -> tuple[Tensor, Tensor]:
        """Logits and labels of the calibration split under the network that is trained."""
        part = predict(self.model, self.data.evaluated["calibration"], self.data.config, self.devices)
        return part.logits, part.labels

    def _step(self, images: Tensor, labels: Tensor, size: int) -> Tensor:
        targets = labels
        for augmentation in self.cell.recipe.augmentations:
            if isinstance(augmentation, Augmentation):
                if targets.ndim == 1:
                    targets = one_hot(targets, self.cell.dataset.num_classes).to(images.dtype)
                images, targets = augmentation.mix(images, targets, self.generator)
        self.combine = None
        if self.views is not None:
            images, self.combine = self.views.views(images, labels, self.generator)
        self.devices.clear_gradients(self.optimizer)
        compute = self._once(lambda: self._backward(images, targets, size), targets)
        for state in self.procedures:
            compute = _bound(state, self.model, compute)
        loss = compute()
        if self.cell.training.clip:
            self.devices.clip(self.model, self.cell.training.clip)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.model)
        return loss

    def _once(self, compute: Callable[[], Tensor], targets: Tensor) -> Callable[[], Tensor]:
        """`compute`, after whose first call the loss observes the logits of the batch."""
        done = False

        def observed() -> Tensor:
            nonlocal done
            loss = compute()
            if not done and self.loss_state is not None:
                self.loss_state.observe(torch.cat(self.last_logits), targets, self.numbered.samples)
            done = True
            return loss

        return observed

    def _accumulate(self, images: Tensor, targets: Tensor, size: int) -> Tensor:
        self.last_logits = []
        total = torch.zeros((), device=images.device)
        step = len(images) if self.combine is not None else self.micro_batch
        for start in range(0, len(images), step):
            part = slice(start, start + step)
            outputs = self.forward(images[part])
            if self.combine is None:
                loss = self._loss(outputs, targets[part], part) * (len(images[part]) / size)
            else:
                loss = self.combine(outputs, lambda o, t: self._loss(o, t, slice(None)))
            self.devices.backward(loss)
            total += loss.detach()
        return total

    def _loss(self, outputs: Outputs, targets: Tensor, part: slice) -> Tensor:
        if self.loss_state is None:
            return self.cell.recipe.objective.loss(outputs, targets)
        self.last_logits.append(outputs.logits.detach())
        return self.loss_state.loss(outputs, targets, self.numbered.samples[part])

    def _collect(self) -> None:
        """Show the weights to the procedures, once per epoch."""
        if self.collected < self.epoch:
            self.collected = self.epoch
            for state in self.procedures:
                state.end_epoch(self.epoch, self.model)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is evaluated: that of a procedure where it has one."""
        averages = [state.evaluated for state in self.procedures if state.evaluated is not None]
        return averages[0] if averages else super().evaluated

    def _refresh(self) -> None:
        """Batch norm of an averaged network: its statistics are computed again, once per epoch."""
        self._collect()
        averaged = any(state.evaluated is not None for state in self.procedures)
        if averaged and self.normed < self.epoch:
            self.normed = self.epoch
            seed_everything(self.cell.seed, self.epoch, self.generator)
            with self.devices.autocast():
                update_bn(self.batches, self.evaluated)

    def _predict(self, split: str) -> SplitPredictions:
        self._refresh()
        return super()._predict(split)

    def weights(self) -> WeightsByRule:
        """The weights that each checkpoint rule evaluates."""
        self._refresh()
        return super().weights()

    def state(self) -> bytes:
        """The state of the trainer and of the methods."""
        return pack(
            {
                "trainer": torch.frombuffer(bytearray(super().state()), dtype=torch.uint8),
                "loss": self.loss_state.tensors() if self.loss_state else {},
                "procedures": [state.tensors() for state in self.procedures],
            }
        )

    def restore(self, data: bytes) -> None:
        """Go on from `state`; a damaged state is ignored, and the cell starts again."""
        try:
            state = unpack(data)
        except ValueError as error:
            self.log.append(f"starting again: {error}")
            return
        super().restore(state["trainer"].numpy().tobytes())
        if self.loss_state is not None:
            self.loss_state.load(state["loss"])
        for one, tensors in zip(self.procedures, state["procedures"], strict=True):
            one.load(tensors, self.model)
        self.collected = self.epoch


def _bound(state: ProcedureState, model: nn.Module, compute: Callable[[], Tensor]) -> Callable[[], Tensor]:
    return lambda: state.gradients(model, compute)


class _Schedule:
    """A schedule of learning rates, unless a procedure has one of its own for an update."""

    def __init__(self, schedule: Any, optimizer: Any, procedures: list[ProcedureState]) -> None:
        self.schedule, self.optimizer, self.procedures = schedule, optimizer, procedures

    def step_update(self, update: int) -> None:
        """Set the learning rate of an update, counted from 0."""
        self.schedule.step_update(update)
        for state in self.procedures:
            rate = state.learning_rate(update)
            if rate is not None:
                for group in self.optimizer.param_groups:
                    group["lr"] = rate
