"""Beta calibration, one-vs-rest."""

import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from calbench.methods.base import register
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.calibrators._one_vs_rest import renormalised_log
from calbench.methods.solvers.nll import in_blocks

TINY = 1e-12


@register("beta", label="Beta", paper="kull2017beta")
@dataclass
class Beta(Calibrator):
    """q_k = sigmoid(a_k log p_k - b_k log(1 - p_k) + c_k), with a_k, b_k >= 0, minimising the log loss of each class.

    One-vs-rest, renormalised; fitted by scikit-learn's logistic regression, again without the term whose coefficient
    came out negative, as the authors do.

    Kull, Silva Filho and Flach 2017.
    """

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``coefficients_`` (K, 3), of log p, -log(1 - p) and one, on logits (N, K) and labels (N,)."""
        features = _features(logits).cpu().numpy()
        targets = labels.cpu().numpy()
        rows = [_fit_class(features[:, :, k].T, targets == k) for k in range(logits.shape[1])]
        self.coefficients_ = torch.tensor(np.array(rows), dtype=torch.float64, device=logits.device)
        return self

    def transform(self, logits: Any) -> Any:
        """Log-probabilities (N, K), floored so that they are finite."""
        return in_blocks(self._map, logits)

    def _map(self, logits: torch.Tensor) -> torch.Tensor:
        a, b, c = self.coefficients_.to(logits.device).unbind(dim=1)
        log_p, minus_log_rest = _features(logits).unbind(dim=0)
        return renormalised_log(torch.sigmoid(a * log_p + b * minus_log_rest + c)).to(logits.dtype)


def _features(logits: torch.Tensor) -> torch.Tensor:
    """The logarithms log p and -log(1 - p) of every class, (2, N, K) float64."""
    probabilities = logits.double().softmax(dim=1).clamp(TINY, 1 - TINY)
    return torch.stack([probabilities.log(), -torch.log1p(-probabilities)])


def _fit_class(features: np.ndarray, hits: np.ndarray) -> list[float]:
    """The coefficients a, b, c of one class, from features (N, 2) and whether each sample is of it (N,)."""
    if hits.all() or not hits.any():
        return [0.0, 0.0, 40.0 if hits[0] else -40.0]
    used, weights = [0, 1], np.zeros(2)
    while True:
        model = LogisticRegression(C=1e6, max_iter=1000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(features[:, used] if used else np.zeros((len(hits), 1)), hits)
        found = model.coef_[0][: len(used)]
        if (found >= 0).all():
            weights[used] = found
            return [*weights, float(model.intercept_[0])]
        used = [index for index, value in zip(used, found, strict=True) if value > 0][:1]
        weights[:] = 0
