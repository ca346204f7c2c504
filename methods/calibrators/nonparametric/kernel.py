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

BLOCK_ELEMENTS = 4_000_000


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
        reference = self.reference_.to(points)
        kernels = (
            _log_kernel(part, reference, self.bandwidth_)
            for (part,) in split_rows(BLOCK_ELEMENTS // len(reference), points)
        )
        parts = [self._estimate(log_kernel) for log_kernel in kernels]
        return renormalised_log(torch.cat(parts)).to(logits.dtype)

    def _estimate(self, log_kernel: Tensor) -> Tensor:
        """The weighted shares of the labels (n, K), from logarithms of the weights (n, M)."""
        one_hot = functional.one_hot(self.labels_.to(log_kernel.device), self.reference_.shape[1]).to(log_kernel)
        return log_kernel.softmax(dim=1) @ one_hot

    def _choose(self) -> float:
        if len(self.reference_) < 2:
            return BANDWIDTHS[-1]
        tried = torch.arange(len(self.reference_), device=self.reference_.device)
        tried = tried[:: max(1, -(-len(tried) // TRIED_ON))]
        losses = []
        for bandwidth in BANDWIDTHS:
            log_kernel = _log_kernel(self.reference_[tried], self.reference_, bandwidth)
            log_kernel[torch.arange(len(tried), device=tried.device), tried] = -torch.inf
            log_q = renormalised_log(self._estimate(log_kernel))
            losses.append(float(functional.nll_loss(log_q, self.labels_[tried])))
        return BANDWIDTHS[losses.index(min(losses))]


def _probabilities(logits: Tensor) -> Tensor:
    return logits.double().softmax(dim=1).clamp(SMALLEST, 1)


def _log_kernel(points: Tensor, reference: Tensor, bandwidth: float) -> Tensor:
    """The log-density at points (n, K) of the Dirichlet distributions around reference points (M, K): (n, M)."""
    alpha = reference / bandwidth + 1
    normaliser = torch.lgamma(alpha).sum(dim=1) - torch.lgamma(alpha.sum(dim=1))
    return points.log() @ (alpha - 1).T - normaliser
