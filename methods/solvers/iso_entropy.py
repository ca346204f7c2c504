"""The temperature of each sample at which its predicted distribution has a given entropy."""

import torch
from torch import Tensor

from calbench.methods.solvers.nll import blocks, tracing

RANGE = 14.0
"""The logarithm of the temperature stays within this distance of that of the row's spread."""

STEPS = 60
"""Steps of Newton's method inside a shrinking bracket; about six are needed, bisection would need thirty."""

TOLERANCE = 1e-8
"""Of the logarithm of the temperature."""


def iso_entropy_temperatures(logits: Tensor, entropy: float, start: Tensor | None = None) -> Tensor:
    """The tau > 0 of each sample with H(softmax(z / tau)) = `entropy`.

    The entropy rises with tau from the logarithm of the number of largest logits to log K, so tau is unique. Where a
    row cannot have the entropy (ties of the largest logit), tau ends at the edge of its range; a row whose logits are
    all equal has entropy log K at every temperature, and gets 1.

    Args:
        logits: z (N, K).
        entropy: in nats, between 0 and log K.
        start: temperatures (N,) near the solution, such as those of a similar entropy.

    Returns:
        tau (N,) in float64.

    Example:
        >>> import torch
        >>> z = torch.tensor([[2.0, 0.0, 0.0], [8.0, 1.0, 0.0]])
        >>> tau = iso_entropy_temperatures(z, 0.5)
        >>> p = (z.double() / tau[:, None]).softmax(1)
        >>> [round(h, 6) for h in (-(p * p.log()).sum(1)).tolist()]
        [0.5, 0.5]
    """
    if tracing():
        return _temperatures(logits.double(), entropy, None, 24)
    parts = [_temperatures(logits[b].double(), entropy, None if start is None else start[b]) for b in blocks(logits)]
    return torch.cat(parts)


def _temperatures(logits: Tensor, entropy: float, start: Tensor | None, steps: int = STEPS) -> Tensor:
    spread = logits.std(dim=1, correction=0)
    flat = spread == 0
    centre = torch.where(flat, torch.ones_like(spread), spread).log()
    shifted = logits - logits.amax(dim=1, keepdim=True)
    low, high = centre - RANGE, centre + RANGE
    log_tau = centre.clone() if start is None else start.log().clamp(low, high)
    for _ in range(steps):
        value, slope = _entropy_and_slope(shifted, log_tau)
        above = value > entropy
        low, high = torch.where(above, low, log_tau), torch.where(above, log_tau, high)
        target = log_tau - (value - entropy) / slope.clamp_min(1e-300)
        # A step at the edge of the bracket is a Newton step that has converged; one far outside is replaced.
        target = torch.where((target < low - TOLERANCE) | (target > high + TOLERANCE), (low + high) / 2, target)
        change, log_tau = (target - log_tau).abs().amax(), target
        if not tracing() and change < TOLERANCE:
            break
    return torch.where(flat, torch.ones_like(spread), log_tau.exp())


def _entropy_and_slope(shifted: Tensor, log_tau: Tensor) -> tuple[Tensor, Tensor]:
    """H(softmax(z / tau)) and its derivative in log tau, Var_p(z / tau), for logits relative to the row's largest."""
    scaled = shifted * (-log_tau).exp()[:, None]
    weights = scaled.exp()
    mass = weights.sum(dim=1)
    weights = weights * scaled
    mean = weights.sum(dim=1) / mass
    square = (weights * scaled).sum(dim=1) / mass
    return mass.log() - mean, square - mean * mean
