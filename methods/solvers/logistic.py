"""Many logistic regressions at once, one per class, by damped Newton steps in float64."""

from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 1e-6
"""Strength of the penalty on the squared weights (in units of the features' root mean square), per N."""

STEPS = 100
"""Newton steps at most; ten are usual, thirty where a class is all but separated."""

TOLERANCE = 1e-14
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
    inputs = inputs.permute(2, 0, 1).contiguous()
    truth = hits.T.to(features)
    counts = (torch.ones(1, len(hits)) if weights is None else weights[None]).to(features) / len(hits)
    penalty = torch.full(inputs.shape[1:2], RIDGE / len(hits), dtype=features.dtype, device=features.device)
    penalty[-1] = 0
    problem = _Problem(inputs, truth, counts, penalty)
    point = problem.minimise()
    found = point.clone()
    found[:, :-1] /= units.T
    return found, problem.losses(problem.scores(point))


@dataclass
class _Problem:
    """Regressions of C classes on inputs (C, P, N), the last of which is one, with labels 0 or 1 (C, N).

    Attributes:
        inputs: (C, P, N).
        truth: (C, N).
        counts: the weight of each sample in the mean, (1, N).
        penalty: strength of the ridge on each weight (P,).
    """

    inputs: Tensor
    truth: Tensor
    counts: Tensor
    penalty: Tensor

    def minimise(self) -> Tensor:
        """The weights (C, P)."""
        point = self.inputs.new_zeros(self.inputs.shape[:2])
        point[:, -1] = torch.logit((self.counts * self.truth).sum(dim=1).clamp(1e-12, 1 - 1e-12))
        scores = self.scores(point)
        value = self._penalised(scores, point)
        for _ in range(STEPS):
            step, gain = self._newton_step(scores, point)
            ended = gain < TOLERANCE
            if bool(ended.all()):
                break
            step[ended] = 0
            point, scores, value = self._descend(point, scores, value, step)
        return point

    def scores(self, point: Tensor) -> Tensor:
        """The log-odds (C, N)."""
        return (point[:, None] @ self.inputs).squeeze(1)

    def losses(self, scores: Tensor) -> Tensor:
        """The mean log loss of each class (C,)."""
        signed = torch.where(self.truth > 0, -scores, scores)
        losses = signed.abs().neg_().exp_().log1p_().add_(signed.clamp_min_(0))
        return losses.mul_(self.counts).sum(dim=1)

    def _penalised(self, scores: Tensor, point: Tensor) -> Tensor:
        return self.losses(scores) + (self.penalty * point.square()).sum(dim=1) / 2

    def _newton_step(self, scores: Tensor, point: Tensor) -> tuple[Tensor, Tensor]:
        """The Newton step of every class (C, P), and the nats that it would gain were the loss quadratic (C,)."""
        probabilities = scores.sigmoid()
        residuals = self.counts * (probabilities - self.truth)
        gradient = (self.inputs @ residuals[:, :, None]).squeeze(2) + self.penalty * point
        curvature = self.counts * probabilities * (1 - probabilities)
        hessian = (self.inputs * curvature[:, None]) @ self.inputs.mT + self.penalty.diag()
        hessian = hessian + torch.diag_embed(1e-12 * hessian.diagonal(dim1=1, dim2=2) + 1e-14)
        step = -torch.linalg.solve(hessian, gradient)
        return step, -(step * gradient).sum(dim=1) / 2

    def _descend(self, point: Tensor, scores: Tensor, value: Tensor, step: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The step of every class, halved until its loss no longer rises: the point, its scores and loss."""
        length = torch.ones_like(value)
        for _ in range(40):
            target = point + length[:, None] * step
            reached = self.scores(target)
            found = self._penalised(reached, target)
            worse = ~(found <= value)
            if not bool(worse.any()):
                return target, reached, found
            length = torch.where(worse, length / 2, length)
        kept = worse[:, None]
        return torch.where(kept, point, target), torch.where(kept, scores, reached), torch.where(worse, value, found)
