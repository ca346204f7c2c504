"""The training options of a suite."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

AFFECTS_RESULTS = False

Positive = Annotated[float, Field(gt=0)]
NonNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]

CheckpointRule = Literal["last", "best-nll", "best-nll-refinement", "best-accuracy", "best-ece"]
"""Which epoch of a run is evaluated: the last one, or the best by a metric of the calibration split.

``best-nll-refinement`` is "refine, then calibrate" of Berta et al. 2025, arXiv 2501.19195: the epoch with the lowest
NLL at the best temperature, for entries that a temperature scaling follows.
"""


FOLLOWED = ("accuracy", "nll", "nll-refinement", "ece")
"""The metrics of the calibration split that are recorded after every epoch where a checkpoint rule follows one."""


def followed_metric(rule: CheckpointRule) -> str | None:
    """The metric whose best epoch `rule` keeps, or None for the last epoch."""
    return None if rule == "last" else rule.removeprefix("best-")


class TrainingConfig(BaseModel):
    """How a cell is trained. Optimisers and schedules are timm's, by timm's names.

    Attributes:
        epochs: passes over the training split. With 0 a network is evaluated as it is (pretrained, or from a
            checkpoint), and the calibration split is part of the test images. Example: ``100``.
        batch_size: images per update. Example: ``128``.
        optimizer: a name of timm's. Example: ``sgd``.
        lr: the peak learning rate, per update. Example: ``0.1``.
        momentum: of optimisers that have one. Example: ``0.9``.
        weight_decay: as the optimiser applies it: AdamW's is multiplied by the learning rate. Example: ``0.0005``.
        decay_all: whether weight decay acts on biases and norms too, as in plain SGD recipes. Example: ``true``.
        schedule: how the learning rate falls; ``multistep`` multiplies it by `decay_rate` at each of `milestones`.
            Example: ``multistep``.
        warmup_epochs: of a linear rise of the learning rate from a hundredth of the peak, in epochs. Example: ``5``.
        milestones: epochs at which the ``multistep`` schedule lowers the learning rate. Example: ``[150, 250]``.
        decay_rate: the factor at each milestone. Example: ``0.1``.
        clip: the largest norm of the gradient; 0 for no bound. Example: ``1.0``.
        ema: decay of an exponential moving average of the weights, per update, which is then evaluated; 0 for none.
            Example: ``0.999``.
        augment: whether training images are cropped and mirrored as is usual for the dataset. Example: ``false``.
        precision: of the arithmetic on a GPU; ``auto`` is bfloat16 where the GPU has it. A CPU computes in float32.
            Example: ``float32``.
        compile: whether `torch.compile` is used. Example: ``true``.
        micro_batch: images that are computed at once, to save memory; 0 for whole batches, halved automatically where
            CUDA runs out of memory. Example: ``32``.
        save_seconds: the least time between two saved states of a running cell, in seconds. It has no influence on the
            predictions. Example: ``600``.
        threads: of one cell on a CPU. Their number changes the last digits, so it is part of the key; the number of
            jobs is not. Example: ``4``.
        attention_curve: whether the attention entropy of every block and the calibration split's metrics are recorded
            after each epoch; it changes no prediction. Example: ``true``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: Annotated[int, Field(ge=0)] = 30
    batch_size: Count = 64
    optimizer: str = "adamw"
    lr: Positive = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegative = 0.05
    decay_all: bool = False
    schedule: Literal["cosine", "multistep", "constant"] = "cosine"
    warmup_epochs: NonNegative = 0
    milestones: tuple[Count, ...] = ()
    decay_rate: Positive = 0.1
    clip: NonNegative = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    augment: bool = True
    precision: Literal["auto", "float32", "bf16", "fp16"] = "auto"
    compile: bool = False
    micro_batch: Annotated[int, Field(ge=0)] = 0
    save_seconds: NonNegative = 60.0
    threads: Count = 1
    attention_curve: bool = False

    def identity(self) -> dict[str, object]:
        """The options that can change predictions."""
        return self.model_dump(mode="json", exclude={"save_seconds", "micro_batch", "compile", "attention_curve"})
