"""Kernel regression on the probability simplex."""

from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from calbench.methods.base import register
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.calibrators._one_vs_rest import renormalised_log
from calbench.methods.calibrators._top import warn_of_lost_accuracy
from calbench.methods.solvers.neighbours import thinned
from calbench.methods.solvers.nll import split_rows

SMALLEST = 1e-10
BANDWIDTHS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0)
TRIED_ON = 1_000
"""Samples, at most, whose left-out likelihood chooses the bandwidth."""

LOWEST = -80.0
"""The logarithm of a weight that is too small to count; below it float32 is slow, and then zero."""

BLOCK_ELEMENTS = 1_000_000


@register("kernel", label="Kernel", paper="popordanoska2022consistent")
@dataclass
class Kernel(Calibrator):
    """q_k = sum_i [y_i = k] k_h(p; p_i) / sum_i k_h(p; p_i), k_h Dirichlet densities with alpha = p_i / h + 1.

    The Nadaraya-Watson estimate of E[y | p] on the simplex. The paper uses it in a calibration error;
    CalArena uses it as a calibrator, with Scott's rule for h. If ``bandwidth`` is not set, h is the value in 1e-4 ... 1
    with the lowest leave-out NLL. Calibration samples are kept, 10,000 at most, and a transform compares with
    all of them. With many classes few samples are near, and accuracy is lost. No default grid: the NLL of the samples
    that the estimate consists of would choose the smallest bandwidth.

    Popordanoska, Sayer and Blaschko 2022, arXiv 2210.07810.
    """

    bandwidth: Annotated[float, Field(gt=0)] | None = None

    def fit(self, logits: Any, labels: Any) -> Self:
        """Keep ``reference_`` (M, K) and ``labels_`` (M,), and choose ``bandwidth_``."""
        known = thinned(len(logits))
        self.reference_, self.labels_ = _probabilities(logits[known]), labels[known].clone()
        self.bandwidth_ = self.bandwidth if self.bandwidth is not None else self._choose()
        self.num_classes_ = logits.shape[1]
        warn_of_lost_accuracy(self.spec.name, self.transform(logits[known]), logits[known], labels[known])
        return self

    def transform(self, logits: Any) -> Any:
        """Log-probabilities (N, K), floored so that they are finite."""
        points = _probabilities(logits)
        reference, one_hot = self._compared_with(points.device)
        slopes, normaliser = (reference / self.bandwidth_).T, _log_normaliser(reference, self.bandwidth_)
        parts = [
            _estimate(part.log() @ slopes - normaliser, one_hot)
            for (part,) in split_rows(BLOCK_ELEMENTS // len(reference), points)
        ]
        return renormalised_log(torch.cat(parts)).to(logits.dtype)

    def _compared_with(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """The reference points (M, K) float64, and their labels as vectors (M, K) float32."""
        one_hot = torch.eye(self.reference_.shape[1], dtype=torch.float32, device=device)
        return self.reference_.to(device), one_hot[self.labels_.to(device)]

    def _choose(self) -> float:
        if len(self.reference_) < 2:
            return BANDWIDTHS[-1]
        tried = torch.arange(len(self.reference_), device=self.reference_.device)
        tried = tried[:: max(1, -(-len(tried) // TRIED_ON))]
        reference, one_hot = self._compared_with(self.reference_.device)
        normalisers = [_log_normaliser(reference, bandwidth) for bandwidth in BANDWIDTHS]
        losses = torch.zeros(len(BANDWIDTHS), dtype=torch.float64, device=reference.device)
        for (rows,) in split_rows(BLOCK_ELEMENTS // len(reference), tried):
            slopes = reference[rows].log() @ reference.T
            slopes[torch.arange(len(rows), device=rows.device), rows] = -torch.inf
            for number, (bandwidth, normaliser) in enumerate(zip(BANDWIDTHS, normalisers, strict=True)):
                log_q = renormalised_log(_estimate(slopes / bandwidth - normaliser, one_hot))
                losses[number] += functional.nll_loss(log_q, self.labels_[rows], reduction="sum")
        return BANDWIDTHS[int(losses.argmin())]


def _probabilities(logits: Tensor) -> Tensor:
    return logits.double().softmax(dim=1).clamp(SMALLEST, 1)


def _log_normaliser(reference: Tensor, bandwidth: float) -> Tensor:
    """The logarithm of the normaliser of the Dirichlet distribution around each reference point (M, K): (M,).

    Without it the log-density at p is log p . reference / bandwidth.
    """
    alpha = reference / bandwidth + 1
    return torch.lgamma(alpha).sum(dim=1) - torch.lgamma(alpha.sum(dim=1))


def _estimate(log_kernel: Tensor, one_hot: Tensor) -> Tensor:
    """The weighted shares of the labels (n, K) float64, from logarithms of the weights (n, M) and labels (M, K).

    Logarithms can be as large as 1e5, so they are float64; of weights relative to the largest float32 is enough.
    """
    weights = (log_kernel - log_kernel.amax(dim=1, keepdim=True)).float().clamp_min(LOWEST).exp()
    sums = (weights @ one_hot).double()
    return sums / sums.sum(dim=1, keepdim=True)
