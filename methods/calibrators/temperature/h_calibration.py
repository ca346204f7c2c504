"""h-calibration: a mixture of temperatures that makes local means of probability and outcome agree."""

from dataclasses import dataclass
from typing import Annotated, Any, Self, cast

import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.base import register
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.calibrators._top import keep_argmax
from calbench.methods.solvers.network_fit import seeded
from calbench.methods.solvers.newton import optimal_temperature
from calbench.methods.solvers.nll import in_blocks

CLUSTERS = 15
"""Groups of probabilities that count alike in the loss, whatever their sizes."""


@register("h-calibration", label="h-calibration", paper="huang2025hcalibration")
@dataclass
class HCalibration(Calibrator):
    """sum_m w_m softmax(a_m z), minimising the mean over clusters of |mean of p - [y = k] over a window|.

    The N K pairs of a probability p and whether its class was the label are sorted by p; a window is the ``window``
    nearest of them. Where probability and outcome agree in every window the model is calibrated canonically up to an
    error that the window bounds. The values of all windows are averaged within 15 clusters of p (by k-means) and then
    over the clusters, since most p are near 0. a_m > 0 and w on the simplex have ``temperatures`` members, so the order
    of the classes is kept. Fitted by Adam on random ``batch_size`` rows per step, from temperatures around the optimal
    one.

    Huang et al. 2025, arXiv 2506.17968, with the linear map, windows and cluster weights of the authors' code, which
    also averages the loss over K subsets that leave out the samples of one class (K times the cost; left out here), and
    chooses between this map and a monotone network by the training metric.
    """

    temperatures: Annotated[int, Field(ge=1)] = 16
    window: Annotated[int, Field(ge=2)] = 201
    steps: Annotated[int, Field(ge=1)] = 200
    learning_rate: Annotated[float, Field(gt=0)] = 0.02
    batch_size: Annotated[int, Field(ge=1)] = 512
    seed: Annotated[int, Field(ge=0)] = 0

    keeps_accuracy = True
    tune_grid = (("window", (51, 101, 201, 401)),)

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``slopes_`` and ``weights_`` (M,) on calibration logits (N, K) and labels (N,)."""
        unit = 1 / optimal_temperature(logits, labels)
        scores = (logits * unit).log_softmax(dim=1).double()
        spread = torch.linspace(-1, 1, self.temperatures, dtype=torch.float64, device=logits.device)
        slopes = (spread if self.temperatures > 1 else torch.zeros_like(spread)).clone().requires_grad_()
        shares = (-spread.square() / 0.1).clone().requires_grad_()
        optimizer = torch.optim.Adam([slopes, shares], lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.steps)
        with seeded(self.seed, logits.device), torch.enable_grad():
            for _ in range(self.steps):
                rows = torch.randperm(len(logits))[: self.batch_size].to(logits.device)
                p = _mixture(scores[rows], slopes.exp(), shares.softmax(dim=0))
                optimizer.zero_grad()
                window_error(p, labels[rows], self.window).backward()
                optimizer.step()
                schedule.step()
        self.slopes_ = (slopes.detach().exp() * unit).to(logits.dtype)
        self.weights_ = shares.detach().softmax(dim=0).to(logits.dtype)
        return self

    def transform(self, logits: Any) -> Any:
        """Log-probabilities of the mixture (N, K)."""
        slopes, weights = self.slopes_.to(logits), self.weights_.to(logits)

        def mapped(rows: Tensor) -> Tensor:
            p = _mixture(rows, slopes, weights).clamp_min(torch.finfo(rows.dtype).tiny)
            return keep_argmax(p.log(), rows)

        return in_blocks(mapped, logits)


def _mixture(scores: Tensor, slopes: Tensor, weights: Tensor) -> Tensor:
    """sum_m w_m softmax(a_m z) (N, K)."""
    parts = (w * (a * scores).softmax(dim=1) for a, w in zip(slopes, weights, strict=True))
    return (
        torch.stack(list(parts)).sum(dim=0)
        if scores.requires_grad or slopes.requires_grad
        else cast("Tensor", sum(parts))
    )


def window_error(p: Tensor, labels: Tensor, window: int) -> Tensor:
    """The mean over clusters of probabilities of |mean of p - [y = k] over the nearest ``window`` pairs|.

    Args:
        p: probabilities (N, K), from which gradients flow.
        labels: (N,).
        window: pairs in a window, the pair itself in the middle; fewer at both ends, where the sum is still divided by
            ``window``.
    """
    return _WindowError.apply(p, labels, window)


class _WindowError(torch.autograd.Function):
    """`window_error`, with its gradient: sums over windows are differences of cumulative sums in both directions."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, labels: Tensor, window: int) -> Tensor:
        outcome = torch.zeros_like(p).scatter_(1, labels[:, None], 1.0)
        values, order = p.flatten().sort()
        window = min(window, len(values))
        before = window // 2
        sums = _windows(values - outcome.flatten()[order], window, before)
        cluster = _clusters(values)
        weights = 1 / (CLUSTERS * window * torch.bincount(cluster, minlength=CLUSTERS).to(p).clamp_min(1))[cluster]
        slopes = _windows(weights * sums.sign(), window, window - 1 - before)
        ctx.save_for_backward(torch.empty_like(slopes).scatter_(0, order, slopes).view_as(p))
        return (weights * sums.abs()).sum()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Tensor, None, None]:
        return grad_outputs[0] * ctx.saved_tensors[0], None, None


def _windows(terms: Tensor, window: int, before: int) -> Tensor:
    """The sum of the ``window`` terms around each of `terms` (n,), from the one ``before`` places earlier on."""
    sums = torch.cat([terms.new_zeros(1 + before), terms.cumsum(dim=0)])
    sums = torch.cat([sums, sums[-1:].expand(window - 1 - before)])
    return sums[window:] - sums[:-window]


def _clusters(values: Tensor) -> Tensor:
    """The cluster of every one of sorted `values` in 0..1 by k-means in one dimension, from centres equally apart."""
    centres = (torch.arange(CLUSTERS, dtype=values.dtype, device=values.device) + 0.5) / CLUSTERS
    sums = torch.cat([values.new_zeros(1), values.cumsum(dim=0)])
    for _ in range(10):
        bounds = torch.searchsorted(values, (centres[1:] + centres[:-1]) / 2)
        edges = torch.cat([bounds.new_zeros(1), bounds, bounds.new_full((1,), len(values))])
        sizes = edges.diff()
        means = (sums[edges[1:]] - sums[edges[:-1]]) / sizes.clamp_min(1)
        centres = torch.where(sizes > 0, means, centres)
    return torch.searchsorted((centres[1:] + centres[:-1]) / 2, values)
