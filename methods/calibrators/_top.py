"""Shared code of the top-label calibrators: the confidence, and probabilities with the calibrated confidence."""

import math
import warnings
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from calbench.methods.calibrators._base import Calibrator
from calbench.methods.calibrators._one_vs_rest import FLOOR
from calbench.methods.solvers.nll import in_blocks

SLACK = 1e-3
"""By how much, relatively, the predicted class stays above the others."""


def log_confidences(logits: Tensor) -> Tensor:
    """log(1 - q) and log q of the confidence q of every row, (N, 2) float64; exact where q is 1 in floating point."""

    def of(block: Tensor) -> Tensor:
        log_p = block.double().log_softmax(dim=1)
        top = log_p.argmax(dim=1, keepdim=True)
        rest = log_p.scatter(1, top, -torch.inf).logsumexp(dim=1)
        return torch.stack([rest, log_p.gather(1, top).squeeze(1)], dim=1)

    return in_blocks(of, logits)


def with_confidence(logits: Tensor, confidence: Tensor) -> Tensor:
    """Log-probabilities (N, K) of the same prediction with another confidence, in the type of `logits`.

    The other classes share 1 - q as they did before. Where one of them would then reach q, their shares are mixed with
    equal ones by as little as keeps the prediction; a confidence below 1 / K, which no predicted class can have, is
    raised to it. So the argmax never changes.

    Args:
        logits: (N, K).
        confidence: q (N,), 0..1.
    """
    num_classes = logits.shape[1]
    q = confidence.double().clamp((1 + SLACK) / num_classes, 1 - FLOOR)[:, None]
    top = logits.argmax(dim=1, keepdim=True)
    log_share = logits.double().scatter(1, top, -torch.inf).log_softmax(dim=1)
    largest, even = log_share.amax(dim=1, keepdim=True).exp(), 1 / (num_classes - 1)
    cap = (1 - SLACK / 2) * q / (1 - q)
    mixed = ((largest - cap) / (largest - even).clamp_min(1e-12)).clamp(0, 1)
    shares = torch.logaddexp(torch.log1p(-mixed) + log_share, (mixed * even).log())
    return (shares + torch.log1p(-q)).scatter(1, top, q.log()).to(logits.dtype)


def keep_argmax(result: Tensor, logits: Tensor) -> Tensor:
    """`result` (N, K) of a non-decreasing function of `logits`, with ties from rounding broken as before."""
    top = logits.argmax(dim=1, keepdim=True)
    others = result.scatter(1, top, -torch.inf).amax(dim=1, keepdim=True)
    above = torch.nextafter(others, torch.full_like(others, math.inf))
    return result.scatter(1, top, torch.maximum(result.gather(1, top), above))


def warn_of_lost_accuracy(name: str, result: Tensor, logits: Tensor, labels: Tensor) -> None:
    """Warn where calibrated logits (N, K) are right on fewer of the samples they were fitted on than `logits` are."""
    before, after = (100 * float((one.argmax(dim=1) == labels).double().mean()) for one in (logits, result))
    if after < before - 1:
        lost = f"it lowers the accuracy on its own calibration split from {before:.1f} to {after:.1f} %"
        warnings.warn(f"{name}: {lost}", stacklevel=4)


@dataclass
class TopLabel(Calibrator):
    """The base of calibrators of the confidence of the predicted class; the other classes keep their proportions."""

    keeps_accuracy = True

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit the calibrator of the confidence on calibration logits (N, K) and labels (N,)."""
        self.fit_confidence(log_confidences(logits), logits.argmax(dim=1) == labels)
        return self

    def transform(self, logits: Any) -> Any:
        """Log-probabilities with the calibrated confidence (N, K)."""
        return in_blocks(lambda block: with_confidence(block, self.confidence(log_confidences(block))), logits)

    @abstractmethod
    def fit_confidence(self, log_confidence: Tensor, hits: Tensor) -> None:
        """Fit on log(1 - q) and log q (N, 2) float64, and on whether each prediction is correct (N,)."""

    @abstractmethod
    def confidence(self, log_confidence: Tensor) -> Tensor:
        """The calibrated confidences (N,) of log(1 - q) and log q (N, 2)."""
