"""Iso-entropy scaling: every sample gets the temperature at which its entropy is one fitted number."""

import math
from dataclasses import dataclass
from typing import Any, Self

from scipy.optimize import minimize_scalar
from torch import Tensor

from calbench.methods.base import register
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.solvers.iso_entropy import iso_entropy_temperatures
from calbench.methods.solvers.nll import mean_nll


@register("iso-entropy", label="Iso-entropy", paper="qiu2024cool")
@dataclass
class IsoEntropy(Calibrator):
    """softmax(z / tau*(z)), with tau* such that every sample has entropy h; h minimises the NLL.

    This is the control of TempNet. On a frozen network its robust loss, tau CE(z / tau) + (rho - log K) tau, has the
    derivative log(sum_k exp(z_k / tau)) - E_p[z] / tau + rho - log K in tau: the labels drop out, and the optimum of
    every sample is H(softmax(z / tau)) = log K - rho. A TempNet that fits its loss well is therefore this calibrator
    with h = log K - rho. It ranks no sample by difficulty: confidences differ only by the shape of the logits, and
    selective prediction by confidence loses what the network knew.

    The loss: Qiu et al. 2024, arXiv 2404.04575; the optimum is a derivation of this project.

    Example:
        >>> import torch
        >>> from calbench.methods.calibrators.temperature.iso_entropy import IsoEntropy
        >>> z, y = torch.tensor([[3.0, 0.0], [1.0, 0.0], [0.0, 2.0], [4.0, 0.0]]), torch.tensor([0, 0, 1, 1])
        >>> round(IsoEntropy().fit(z, y).entropy_, 3)  # one of four is wrong: H(1/4)
        0.562
    """

    keeps_accuracy = True

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``entropy_`` (nats) on calibration logits (N, K) and labels (N,)."""
        most, temperatures = math.log(logits.shape[1]), None

        def nll(share: float) -> float:
            nonlocal temperatures
            temperatures = iso_entropy_temperatures(logits, share * most, temperatures)
            return mean_nll(_divided(logits, temperatures), labels)

        best = minimize_scalar(nll, bounds=(1e-6, 1 - 1e-6), method="bounded", options={"xatol": 1e-6})
        self.entropy_ = float(best.x) * most
        return self

    def transform(self, logits: Any) -> Any:
        """Logits over the temperature of their sample, z / tau*(z) (N, K)."""
        return _divided(logits, iso_entropy_temperatures(logits, self.entropy_))


def _divided(logits: Tensor, temperatures: Tensor) -> Tensor:
    return logits / temperatures[:, None].to(logits.dtype)
