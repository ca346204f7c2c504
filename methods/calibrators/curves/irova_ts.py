"""Isotonic regression, one-vs-rest, after temperature scaling."""

from dataclasses import dataclass
from typing import Any, Self

from calbench.methods.base import register
from calbench.methods.calibrators.curves.isotonic import Isotonic
from calbench.methods.solvers.newton import optimal_temperature


@register("irova-ts", label="IROvA-TS", paper="zhang2020mix")
@dataclass
class IsotonicAfterTS(Isotonic):
    """q_k = g_k(softmax(z / T)_k), renormalised: T by the NLL, then an isotonic regression for every class.

    Zhang, Kailkhura and Han 2020, arXiv 2003.07329 (IROvA-TS). The same as the chain
    ``temperature-scaling + isotonic``.
    """

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``temperature_``, then the curves, on calibration logits (N, K) and labels (N,)."""
        self.temperature_ = optimal_temperature(logits, labels)
        super().fit(logits / self.temperature_, labels)
        return self

    def transform(self, logits: Any) -> Any:
        """Log-probabilities (N, K), floored so that they are finite."""
        return super().transform(logits / self.temperature_)
