"""Last-layer Laplace approximation with the probit approximation of the softmax."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from pydantic import Field
from scipy.optimize import minimize_scalar
from torch import Tensor

from calbench.methods.base import register
from calbench.methods.calibrators.features._base import FeatureCalibrator
from calbench.methods.solvers.nll import BLOCK_ELEMENTS, mean_nll, split_rows

REACH = 6.0
"""Powers of ten, around that of the curvature, in which the prior precision is searched for."""


@register("laplace", label="LL-Laplace", paper="daxberger2021laplace")
@dataclass
class LastLayerLaplace(FeatureCalibrator):
    """softmax(z_k / sqrt(1 + pi / 8 s_k)), s_k = Var(w_k . f) under N(w, (N A x B + delta I)^-1), f with a one.

    The weights w of the last layer, bias included, have a Gaussian posterior around those of the network. Its precision
    is the Kronecker-factored Gauss-Newton matrix, A = mean f f^T and B = mean(diag p - p p^T), with p = softmax(z),
    plus the prior precision delta: the one with the lowest NLL, if ``prior_precision`` is not set. The probit
    approximation takes the diagonal of the variance of the logits. Far from the features of the split s grows and the
    prediction becomes less confident, and nowhere more; the accuracy can change. The curvature should be that of the
    training split; predictions carry the calibration split, so N, A and B are taken from it. Features are centred and
    scaled.

    Daxberger et al. 2021, arXiv 2106.14806, and Kristiadi, Hein and Hennig 2020, arXiv 2002.10118. No default grid: the
    prior precision is chosen already.
    """

    prior_precision: Annotated[float, Field(gt=0)] | None = None

    keeps_accuracy = False

    def fit(self, logits: Any, labels: Any, features: Any = None) -> Self:
        """Fit ``basis_`` (D + 1, D + 1) and ``variance_`` (D + 1, K) on logits (N, K), labels (N,), features (N, D)."""
        inputs = _with_one(self.fit_unit(features)).double()
        count = len(inputs)
        curvature = torch.zeros(logits.shape[1], logits.shape[1], dtype=torch.float64, device=logits.device)
        for (block,) in split_rows(BLOCK_ELEMENTS // logits.shape[1], logits):
            p = block.double().softmax(dim=1)
            curvature += p.sum(dim=0).diag() - p.T @ p
        of_features, basis = torch.linalg.eigh(inputs.T @ inputs / count)
        of_classes, axes = torch.linalg.eigh(curvature)
        products = of_features.clamp_min(0)[:, None] * of_classes.clamp_min(0)
        unit = float(products.mean().clamp_min(1e-300))
        self.basis_ = basis.to(logits.dtype).contiguous()  # as a file gives it back, so that products round alike

        def with_prior(precision: float) -> Tensor:
            return ((1 / (products + precision)) @ axes.square().T).to(logits.dtype)

        def nll(power: float) -> float:
            self.variance_ = with_prior(unit * 10**power)
            return mean_nll(self.transform(logits, features=features), labels)

        if self.prior_precision is None:
            best = minimize_scalar(nll, bounds=(-REACH, REACH), method="bounded", options={"xatol": 1e-2})
            self.precision_ = unit * 10 ** float(best.x)
        else:
            self.precision_ = self.prior_precision
        self.variance_ = with_prior(self.precision_)
        return self

    def transform(self, logits: Any, features: Any = None) -> Any:
        """Logits over the factor of each sample and class (N, K), from the features (N, D) of the same samples."""
        inputs = _with_one(self.in_unit(features)).to(logits.dtype)
        rows = BLOCK_ELEMENTS // max(logits.shape[1], inputs.shape[1])
        return torch.cat([self._scaled(*block) for block in split_rows(rows, logits, inputs)])

    def _scaled(self, logits: Tensor, inputs: Tensor) -> Tensor:
        variances = (inputs @ self.basis_.to(logits)).square() @ self.variance_.to(logits)
        return logits / (1 + math.pi / 8 * variances).sqrt()


def _with_one(features: Tensor) -> Tensor:
    return torch.nn.functional.pad(features, (0, 1), value=1.0)
