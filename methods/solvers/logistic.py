"""Many logistic regressions at once, one per class, by damped Newton steps in float64."""

import torch
from torch import Tensor
from torch.nn import functional

RIDGE = 1e-6
"""Strength of the penalty on the squared weights (in units of the features' root mean square), per N."""

STEPS = 100
"""Newton steps at most; ten are usual, thirty where a class is all but separated."""

TOLERANCE = 1e-12
"""Nats that the next step would gain at which to stop."""


def fit_logistic(features: Tensor, hits: Tensor, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Minimise the log loss of sigmoid(sum_p w_p x_p + c) for every class, with a ridge that only bounds the weights.

    Args:
        features: x (P, N, C) float64, of P features, N samples and C classes.
        hits: whether each sample is of the class (N, C).
        weights: weights of the samples (N,) with a mean of one, or None.

    Returns:
        w and c of every class (C, P + 1), and the mean loss without the ridge (C,), in nats.
    """
    units = features.square().mean(dim=1).sqrt().clamp_min(torch.finfo(features.dtype).tiny)
    inputs = torch.cat([features / units[:, None], torch.ones(1, *features.shape[1:]).to(features)])
    counts = (torch.ones(len(hits), 1) if weights is None else weights[:, None]).to(features) / len(hits)
    penalty = torch.full((len(inputs),), RIDGE / len(hits), dtype=features.dtype, device=features.device)
    penalty[-1] = 0
    point = torch.zeros(hits.shape[1], len(inputs), dtype=features.dtype, device=features.device)
    share = (counts * hits).sum(dim=0).clamp(1e-12, 1 - 1e-12)
    point[:, -1] = torch.logit(share)
    value = _loss(inputs, hits, counts, penalty, point)
    for _ in range(STEPS):
        step, gain = _newton_step(inputs, hits, counts, penalty, point)
        if bool((gain < TOLERANCE).all()):
            break
        point, value = _descend(inputs, hits, counts, penalty, point, step, value)
    found = point.clone()
    found[:, :-1] /= units.T
    return found, _loss(inputs, hits, counts, 0 * penalty, point)


def _loss(inputs: Tensor, hits: Tensor, counts: Tensor, penalty: Tensor, point: Tensor) -> Tensor:
    scores = torch.einsum("cp,pnc->nc", point, inputs)
    losses = functional.softplus(torch.where(hits, -scores, scores))
    return (counts * losses).sum(dim=0) + (penalty * point.square()).sum(dim=1) / 2


def _newton_step(inputs: Tensor, hits: Tensor, counts: Tensor, penalty: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
    """The Newton step of every class (C, P), and the nats that it would gain were the loss quadratic (C,)."""
    probabilities = torch.einsum("cp,pnc->nc", point, inputs).sigmoid()
    gradient = torch.einsum("nc,pnc->cp", counts * (probabilities - hits.to(probabilities)), inputs) + penalty * point
    curvature = counts * probabilities * (1 - probabilities)
    hessian = torch.einsum("nc,pnc,qnc->cpq", curvature, inputs, inputs) + penalty.diag()
    diagonal = hessian.diagonal(dim1=1, dim2=2)
    hessian = hessian + torch.diag_embed(1e-12 * diagonal + 1e-14)
    step = -torch.linalg.solve(hessian, gradient)
    return step, -(step * gradient).sum(dim=1) / 2


def _descend(
    inputs: Tensor, hits: Tensor, counts: Tensor, penalty: Tensor, point: Tensor, step: Tensor, value: Tensor
) -> tuple[Tensor, Tensor]:
    """The step of every class, halved until its loss no longer rises."""
    length = torch.ones_like(value)
    for _ in range(40):
        target = point + length[:, None] * step
        reached = _loss(inputs, hits, counts, penalty, target)
        worse = ~(reached <= value)
        if not bool(worse.any()):
            return target, reached
        length = torch.where(worse, length / 2, length)
    return torch.where(worse[:, None], point, target), torch.where(worse, value, reached)
