"""Multi-class isotonic regression after temperature scaling."""

from dataclasses import dataclass
from typing import Any, Self

from calbench.methods.base import register
from calbench.methods.calibrators.curves.irm import MultiClassIsotonic
from calbench.methods.solvers.newton import optimal_temperature
from calbench.methods.solvers.nll import in_blocks


@register("irm-ts", label="IRM-TS", paper="zhang2020mix")
@dataclass
class MultiClassIsotonicTS(MultiClassIsotonic):
    """irm of softmax(z / T): q_k = (g(p_k) + 1e-9 p_k) / sum_j (g(p_j) + 1e-9 p_j), T minimising the NLL.

    The composition of a parametric and a non-parametric step, both on the same calibration split, as in the paper's
    irova-ts. The chain ``temperature-scaling + irm`` is the same.

    Zhang, Kailkhura and Han 2020, arXiv 2003.07329.
    """

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``temperature_``, then ``knots_`` and ``values_`` (M,), on logits (N, K) and labels (N,)."""
        self.temperature_ = optimal_temperature(logits, labels)
        self.fit_curve(logits / self.temperature_, labels)
        return self

    def transform(self, logits: Any) -> Any:
        """Log-probabilities (N, K)."""
        return in_blocks(lambda block: self.map_block(block / self.temperature_), logits)
