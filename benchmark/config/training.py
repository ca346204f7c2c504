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

    With 0 ``epochs`` a network is judged as it comes (pretrained, or from a checkpoint), and the calibration split is
    part of the test images.

    ``lr`` is the peak learning rate, ``warmup_epochs`` a linear warm-up from a hundredth of it; ``milestones`` are the
    epochs at which the ``multistep`` schedule multiplies the rate by ``decay_rate``; ``decay_all`` puts weight decay on
    biases and norms too, as plain SGD recipes do; ``clip`` bounds the gradient norm (0: off); ``ema`` is the decay of
    an exponential moving average of the weights that is then evaluated (0: off); ``precision`` auto means bfloat16 on
    GPUs that have it and float32 elsewhere; ``micro_batch`` splits a batch to save memory (0: whole batches; halved by
    itself when CUDA runs out of memory); ``save_seconds`` is the least time between two saved states of a running cell,
    and has no influence on the predictions. ``threads`` is how many threads a cell computes with on the CPU: more of
    them change the last digits, so the number is part of the key, and the number of jobs is not. ``attention_curve``
    records the attention entropy of every block and the calibration split's metrics after each epoch; it changes no
    prediction.
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
