"""Logit clipping: no logit beyond a bound."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from calbench.benchmark.core.bins import DEFAULT_BINS
from calbench.methods.base import register
from calbench.methods.calibrators._base import Calibrator
from calbench.methods.calibrators._top import keep_argmax
from calbench.methods.solvers.clipping import best_bound

GRID = 100


@register("logit-clipping", label="LC", paper="tao2025feature")
@dataclass
class LogitClipping(Calibrator):
    """softmax(min(max(z, -c), c)), c > 0 with the lowest ``criterion`` on the calibration split.

    c is one of 100 quantiles of max_k |z_k| over the samples, or infinite: clipping can lower confidences and never
    raise them, so it does nothing for an underconfident model. ``bins`` are those of the ECE. It is not invariant to a
    shift of all logits. Classes that reach the bound together are tied in the released code; here the predicted class
    stays ahead by the last bit.

    No default grid: c is chosen among 100, and another ``criterion`` is another method.

    The control of feature clipping in Tao, Dong and Xu 2025, arXiv 2410.19796, checked against the authors' code, which
    tries c = 0.01, 0.02 ... 10.
    """

    criterion: Literal["ece", "nll"] = "ece"
    bins: Annotated[int, Field(ge=1)] = DEFAULT_BINS

    keeps_accuracy = True

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``bound_`` on calibration logits (N, K) and labels (N,)."""
        sizes = logits.abs().amax(dim=1).double()
        grid = torch.quantile(sizes[:: max(1, len(sizes) // 100_000)], torch.linspace(0, 1, GRID).to(sizes))
        self.bound_ = best_bound(lambda c: _clip(logits, c), logits, labels, grid.tolist(), self.criterion, self.bins)
        return self

    def transform(self, logits: Any) -> Any:
        """Clipped logits (N, K)."""
        return _clip(logits, self.bound_)


def _clip(logits: Tensor, bound: float) -> Tensor:
    return keep_argmax(logits.clamp(-bound, bound), logits)
