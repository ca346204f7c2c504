"""Classes without calibration samples: they keep their temperature-scaled probability, and `fit` warns."""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

MOST_NAMED = 5
"""Classes that a warning names one by one."""


def present_classes(labels: Tensor, num_classes: int) -> Tensor:
    """The classes with a calibration row, as numbers (P,) int64, rising."""
    return torch.bincount(labels, minlength=num_classes).nonzero().flatten()


def warn_of_absent(name: str, present: Tensor, classes: list, kept_apart: bool, stacklevel: int) -> None:
    """Warn which classes are not among `present`, and how they are calibrated."""
    there = set(present.tolist())
    absent = [str(label) for number, label in enumerate(classes) if number not in there]
    shown = ", ".join(absent[:MOST_NAMED])
    more = f" and {len(absent) - MOST_NAMED} others" if len(absent) > MOST_NAMED else ""
    noun = "class" if len(absent) == 1 else "classes"
    fate = (
        "they keep the probability that temperature scaling gives them"
        if kept_apart
        else "they are calibrated by what was fitted on the other classes"
    )
    fate = fate if len(absent) > 1 else fate.replace("they keep", "it keeps").replace("them", "it")
    fate = fate if len(absent) > 1 else fate.replace("they are", "it is")
    message = f"{name}: no calibration row of {noun} {shown}{more}: {fate}"
    warnings.warn(message, UserWarning, stacklevel=stacklevel)


def with_absent(logits: Tensor, present: Tensor, temperature: float, transform: Callable[[Tensor], Tensor]) -> Tensor:
    """Log-probabilities (N, K) of a calibrator that was fitted on the classes `present` only.

    The others keep their probability under softmax(z / T); those present share the rest in the proportions of
    `transform`.

    Args:
        logits: (N, K).
        present: class numbers (P,).
        temperature: T.
        transform: from the logits of the classes present (N, P) to calibrated logits (N, P).
    """
    present = present.to(logits.device)
    log_p = (logits / temperature).log_softmax(dim=1)
    if len(present) < 2:
        return log_p
    share = log_p.index_select(1, present).logsumexp(dim=1, keepdim=True)
    mapped = transform(logits.index_select(1, present)).log_softmax(dim=1) + share
    return log_p.scatter(1, present.expand(len(log_p), -1), mapped)
