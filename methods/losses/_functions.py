"""Shared code of the training losses: log-probabilities in full precision; labels or class distributions as targets."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from calbench.methods.base import Outputs


def full_precision(values: Tensor) -> Tensor:
    """`values` as float32, or as they are where they are float64: losses never compute in half precision."""
    return values if values.dtype == torch.float64 else values.float()


def log_probabilities(outputs: Outputs) -> Tensor:
    """Log softmax of the final logits (N, K), in float32 or better, under autocast too."""
    return full_precision(outputs.logits).log_softmax(dim=1)


def as_distributions(targets: Tensor, like: Tensor) -> Tensor:
    """Labels (N,) as one-hot rows, or distributions (N, K) as they are, in the type of `like` (N, K)."""
    if targets.ndim == 1:
        return functional.one_hot(targets, like.shape[1]).to(like.dtype)
    return targets.to(like.dtype)


def hard_labels(targets: Tensor) -> Tensor:
    """`targets` (N,) unchanged.

    Raises:
        ValueError: the targets are class distributions.
    """
    if targets.ndim != 1:
        raise ValueError(f"this loss is defined for labels (N,) alone, got targets of shape {tuple(targets.shape)}")
    return targets


def expected_over_targets(log_p: Tensor, targets: Tensor, term: Callable[[Tensor], Tensor]) -> Tensor:
    """Mean over the batch of `term` at the target class.

    A distribution as target gives the expectation over the class drawn from it, sum_k t_k term(log p_k): the form in
    which Zhang et al. 2018 (arXiv 1710.09412, the authors' code) train any loss on mixed labels.

    Args:
        log_p: log-probabilities (N, K).
        targets: labels (N,) or distributions (N, K).
        term: an elementwise loss of the target's log-probability.
    """
    if targets.ndim == 1:
        return term(log_p.gather(1, targets[:, None])).mean()
    return (as_distributions(targets, log_p) * term(log_p)).sum(dim=1).mean()


def cross_entropy_of(log_p: Tensor, targets: Tensor) -> Tensor:
    """-sum_k t_k log p_k, mean over the batch; `log_p` (N, K), `targets` labels (N,) or distributions t (N, K)."""
    if targets.ndim == 1:
        return functional.nll_loss(log_p, targets)
    return expected_over_targets(log_p, targets, Tensor.neg)


def safe_power(base: Tensor, gamma: float | Tensor) -> Tensor:
    """base^gamma for base >= 0, with a finite gradient at 0 for every gamma >= 0 (it is infinite there below 1)."""
    return base.clamp_min(torch.finfo(base.dtype).tiny) ** gamma


def safe_root(square: Tensor, floor: float = 1e-12) -> Tensor:
    """sqrt(square) where `square` is above `floor`; 0, with no gradient, elsewhere (it is infinite at 0)."""
    counts = square > floor
    # The inner where keeps the infinite gradient out of the branch that is not taken.
    return torch.where(counts, torch.where(counts, square, 1).sqrt(), 0)


def focal_term(log_p: Tensor, gamma: float | Tensor) -> Tensor:
    """-(1 - p)^gamma log p, elementwise; 1 - p by expm1, so that it keeps its digits near p = 1."""
    return -safe_power(-torch.expm1(log_p), gamma) * log_p


def brier_score(log_p: Tensor, targets: Tensor) -> Tensor:
    """sum_k (p_k - t_k)^2, mean over the batch; `log_p` (N, K), `targets` labels (N,) or distributions t (N, K)."""
    return functional.mse_loss(log_p.exp(), as_distributions(targets, log_p), reduction="sum") / len(log_p)
