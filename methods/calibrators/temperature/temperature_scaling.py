"""Temperature scaling: one number, fitted to the optimum."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

from pydantic import Field

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.methods.base import register
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.solvers.ece_grid import lowest_ece_temperature
from calbench.methods.solvers.newton import optimal_temperature


@register("temperature-scaling", label="TS", paper="guo2017calibration")
@dataclass
class TemperatureScaling(Calibrator):
    """softmax(z / T), with T > 0 minimising the NLL of the calibration split.

    The NLL is convex in 1/T, so the optimum is unique; it is reached by Newton's method to about eight digits of T.
    With ``criterion="ece"`` T is the one of 0.1, 0.2 ... 10.0 with the lowest ECE of ``bins`` equal-width bins (in a
    suite those of the protocol), the smallest on ties (Mukhoti et al. 2020); for logits of another magnitude the grid
    is multiplied by a power of ten. Data that the model separates perfectly drive T to 0, data that it ranks worse than
    chance to infinity: T is then bounded relative to the gaps between logits, and a `ConvergenceWarning` says so.

    No default grid: T is at its optimum, and another ``criterion`` is another method.

    Guo et al. 2017, arXiv 1706.04599, section 4.2.
    """

    criterion: Literal["nll", "ece"] = "nll"
    bins: Annotated[int, Field(ge=1)] = DEFAULT_BINS

    keeps_accuracy = True

    def fit(self, logits: Any, labels: Any, sample_weight: Any = None) -> Self:
        """Fit ``temperature_`` on calibration logits (N, K) and labels (N,), with weights (N,) or none."""
        if self.criterion == "nll":
            self.temperature_ = optimal_temperature(logits, labels, sample_weight)
        else:
            self.temperature_ = lowest_ece_temperature(logits, labels, sample_weight, self.bins)
        return self

    def transform(self, logits: Any) -> Any:
        """Logits over the temperature, z / T (N, K)."""
        return logits / self.temperature_
