"""timm's optimisers and learning-rate schedules, from the options of a suite."""

from typing import Any, cast

import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.scheduler.scheduler import Scheduler

from calbench.benchmark.config.training import TrainingConfig
from calbench.benchmark.core.errors import InputError
from calbench.benchmark.training.model import Classifier

WARMUP_START = 0.01
"""The first learning rate of a warm-up, as a share of the peak."""


def make_optimizer(model: Classifier, training: TrainingConfig) -> torch.optim.Optimizer:
    """Timm's optimiser of the given name.

    Weight decay spares biases, norms and what the backbone exempts, unless ``decay_all``.

    Raises:
        InputError: timm has no optimiser of that name.
    """
    try:
        optimizer = create_optimizer_v2(
            model,
            opt=training.optimizer,
            lr=training.lr,
            weight_decay=training.weight_decay,
            momentum=training.momentum,
            filter_bias_and_bn=not training.decay_all,
        )
    except (ValueError, AssertionError, KeyError) as error:
        raise InputError(f"training.optimizer {training.optimizer!r}: {error}") from error
    for group in optimizer.param_groups:
        if "fused" in group:  # one call for all parameters: many small ones cost mostly overhead
            group["fused"] = True
    return optimizer


def make_schedule(optimizer: torch.optim.Optimizer, training: TrainingConfig, updates_per_epoch: int) -> Scheduler:
    """Timm's schedule, stepped at every update: a function of the update's number and of nothing else."""
    milestones = [int(epoch) for epoch in training.milestones] if training.schedule == "multistep" else []
    schedule, _ = create_scheduler_v2(
        optimizer,
        sched="cosine" if training.schedule == "cosine" else "multistep",
        num_epochs=training.epochs,
        decay_milestones=milestones,
        decay_rate=training.decay_rate,
        min_lr=0.0,
        warmup_epochs=cast("Any", training.warmup_epochs),  # timm takes fractions
        warmup_lr=training.lr * WARMUP_START,
        cooldown_epochs=0,
        step_on_epochs=False,
        updates_per_epoch=updates_per_epoch,
    )
    return cast("Scheduler", schedule)
