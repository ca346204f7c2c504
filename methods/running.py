"""Methods that act on a whole training run: losses with a state, augmentations of several views, procedures.

`calbench.benchmark.training.extended` trains recipes with such methods; all others are trained by
`calbench.benchmark.training.trainer`, whose results do not depend on this module.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast, get_args

import torch
from torch import Generator, Tensor, nn

from calbench.methods.base import Kind, Method, Objective, Outputs

AnyKind = Kind | Literal["procedure"]
"""All kinds of methods. `Kind` is part of every key, and is not extended for that reason."""

KINDS: tuple[str, ...] = tuple(kind for part in get_args(AnyKind) for kind in get_args(part))

LossOf = Callable[[Outputs, Tensor], Tensor]
"""The objective of a recipe as a function of outputs and labels (N,)."""

Combine = Callable[[Outputs, LossOf], Tensor]
"""The loss of a batch of views, from the outputs of all views (V N rows, view by view) and the objective."""


@dataclass(frozen=True)
class Run:
    """What a method may know of a run before it starts: sizes, and the peak learning rate."""

    num_samples: int
    num_classes: int
    epochs: int
    updates_per_epoch: int
    learning_rate: float


class LossState(ABC):
    """A loss that changes in the course of one run."""

    @abstractmethod
    def loss(self, outputs: Outputs, targets: Tensor, samples: Tensor) -> Tensor:
        """The mean loss of a batch (a scalar) as it is now.

        Args:
            outputs: the model's outputs for N samples.
            targets: labels (N,), or distributions (N, K) where the objective takes them.
            samples: numbers of the samples in the training split (N,) int64, on the CPU.
        """

    def observe(  # noqa: B027
        self, logits: Tensor, targets: Tensor, samples: Tensor
    ) -> None:
        """Look at the logits (N, K) of an update, after its gradients were computed. By default nothing."""

    def end_epoch(self, epoch: int, calibration: tuple[Tensor, Tensor] | None) -> None:  # noqa: B027
        """Change the state after `epoch` epochs. By default nothing.

        Args:
            epoch: how many epochs are done.
            calibration: logits (M, K) and labels (M,) of the calibration split under the network as it is now, where
                the objective ``reads_calibration``; else None.
        """

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """The state as tensors by name, for the saved state of a running cell."""

    @abstractmethod
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Go on from what `tensors` gave."""


class StatefulObjective(Objective):
    """A training loss with a state, such as one weight per class that is updated after every epoch.

    ``reads_calibration``: whether the state is updated from the calibration split, which then takes part in training;
    the protocol line above the tables names such losses. `loss` is the loss of the first epoch.
    """

    reads_calibration: ClassVar[bool] = False

    @abstractmethod
    def start(self, run: Run) -> LossState:
        """The state at the beginning of a run."""


class StagedAugmentation(Method):
    """A change of the images as they are stored, 8 bits per channel, before they are resized and normalised.

    Labels stay as they are. The images (N, C, H, W) uint8 are on the CPU.
    """

    kind = "augmentation"
    passes: ClassVar[int] = 1

    @abstractmethod
    def augment(self, images: Tensor, generator: Generator) -> Tensor:
        """Changed images; of V N samples, view by view, where `passes` is V.

        Args:
            images: (N, C, H, W) uint8.
            generator: a CPU generator; all randomness comes from it.
        """


class ViewAugmentation(Method):
    """An augmentation that makes several images of every sample, and a loss that combines their outputs.

    ``passes`` is the number V of images per sample. A subclass that also is a `StagedAugmentation` makes them of the
    stored images, and gives `views` of what it made.
    """

    kind = "augmentation"
    passes: ClassVar[int] = 2

    @abstractmethod
    def views(self, images: Tensor, labels: Tensor, generator: Generator) -> tuple[Tensor, Combine]:
        """Images (V N, C, H, W), view by view, and the loss of their outputs.

        Args:
            images: (N, C, H, W) float; (V N, C, H, W) where they are staged.
            labels: (N,) int64.
            generator: a CPU generator; all randomness comes from it.
        """


class ProcedureState:
    """What a procedure does in one run; every hook may be left as it is."""

    def gradients(self, model: nn.Module, compute: Callable[[], Tensor]) -> Tensor:
        """Leave the gradients of an update in the parameters of `model`; return the loss.

        `compute` computes the gradients of the batch at the weights as they are, and returns its loss.
        """
        return compute()

    def learning_rate(self, update: int) -> float | None:
        """The learning rate of an update (counted from 0) in place of the schedule's, or None."""
        return None

    def end_epoch(self, epoch: int, model: nn.Module) -> None:
        """Look at the weights of `model` after `epoch` epochs."""

    @property
    def evaluated(self) -> nn.Module | None:
        """The network to evaluate in place of the trained one, or None."""
        return None

    def tensors(self) -> dict[str, Tensor]:
        """The state as tensors by name."""
        return {}

    def load(self, tensors: dict[str, Tensor], model: nn.Module) -> None:
        """Go on from what `tensors` gave, on the device of `model`."""


class Procedure(Method):
    """A change of how the weights are updated or averaged, whatever the loss.

    ``passes`` is the number of forward and backward passes per update.
    """

    kind: ClassVar[AnyKind] = "procedure"
    passes: ClassVar[int] = 1

    @abstractmethod
    def start(self, run: Run) -> ProcedureState:
        """The state at the beginning of a run."""


Extended = StatefulObjective | StagedAugmentation | ViewAugmentation | Procedure
"""The methods of this module."""


def rows_of(outputs: Outputs, rows: slice) -> Outputs:
    """The outputs of some samples."""
    parts = (outputs.logits, outputs.raw_logits, outputs.temperature, outputs.features)
    return Outputs(*(cast("Any", None if part is None else part[rows]) for part in parts))


def seed_from(generator: Generator) -> int:
    """A seed for code that reads a global random state."""
    return int(torch.randint(2**63 - 1, (), generator=generator))
