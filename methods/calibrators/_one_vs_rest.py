"""The adapter for binary calibrators of other libraries: one fitted curve per class, renormalised.

Each curve is a function of one probability. What the library fits is kept as arrays (steps or straight pieces between
knots), so a fitted calibrator needs neither the library nor pickle, and works on any device and in blocks.
"""

import contextlib
import io
import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from calbench.methods.calibrators._base import Calibrator
from calbench.methods.solvers.nll import in_blocks, tracing

FLOOR = torch.finfo(torch.float32).eps
"""The smallest probability before renormalisation: no sample costs more than 16 nats. scikit-learn's log loss, too."""

Curve = tuple[np.ndarray, np.ndarray]
FitCurve = Callable[[np.ndarray, np.ndarray], Curve]


@dataclass
class OneVsRest(Calibrator):
    """The base of one-vs-rest calibrators: q_k = curve_k(p_k), divided by their sum.

    ``knots_`` (K, M) and ``values_`` hold the curve of every class: steps, values (K, M + 1), right-closed cells
    between the knots; or, for ``linear`` ones, straight pieces through (knot, value), values (K, M).
    """

    max_classes: Annotated[int, Field(ge=2)] = 300

    linear: ClassVar[bool] = False
    exact: ClassVar[bool] = False
    """Whether ``fit_curve`` gets the probabilities as computed in float64; else rounded to float32, as points are."""

    growth = "fits one curve per class"

    def fit(self, logits: Any, labels: Any) -> Self:
        """Fit ``knots_`` and ``values_`` on calibration logits (N, K) and labels (N,)."""
        return self.fit_curves(logits, labels, self.fit_curve)

    def fit_curves(self, logits: Tensor, labels: Tensor, fit_curve: FitCurve) -> Self:
        """Fit the curve of every class by `fit_curve`."""
        probabilities = logits.double().softmax(dim=1) if self.exact else _probabilities(logits)
        curves = []
        for k in range(logits.shape[1]):
            hits = (labels == k).cpu().numpy()
            column = probabilities[:, k].cpu().numpy()
            constant = hits.all() or not hits.any()
            curves.append(_constant(hits[0], self.linear) if constant else _quiet(fit_curve, column, hits))
        width = max(len(knots) for knots, _ in curves)
        extra = 0 if self.linear else 1
        knots = np.stack([np.pad(knots, (0, width - len(knots)), mode="edge") for knots, _ in curves])
        values = np.stack([np.pad(values, (0, width + extra - len(values)), mode="edge") for _, values in curves])
        self.knots_ = torch.from_numpy(knots).to(logits.device)
        self.values_ = torch.from_numpy(values).to(logits.device)
        return self

    def transform(self, logits: Any) -> Any:
        """Log-probabilities (N, K), floored so that they are finite."""
        return in_blocks(self._map, logits)

    @abstractmethod
    def fit_curve(self, probabilities: np.ndarray, hits: np.ndarray) -> Curve:
        """The curve of one class, knots and values, from probabilities (N,) float64 and whether each was it (N,)."""

    def _map(self, logits: Tensor) -> Tensor:
        probabilities = _probabilities(logits).T.contiguous()
        knots, values = self.knots_.to(logits.device), self.values_.to(logits.device)
        mapped = (_pieces if self.linear else _steps)(knots, values, probabilities).T
        return renormalised_log(mapped).to(logits.dtype)


def _probabilities(logits: Tensor) -> Tensor:
    """Probabilities (N, K) in float64, computed so and rounded to float32, so that an export meets the same knots."""
    return logits.double().softmax(dim=1).float().double()


def _quiet(fit_curve: FitCurve, probabilities: np.ndarray, hits: np.ndarray) -> Curve:
    """`fit_curve` without the progress bars and notes that the libraries print."""
    out, err = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with out, err, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fit_curve(probabilities, hits)


def renormalised_log(mapped: Tensor) -> Tensor:
    """The logarithm of floored probabilities (N, K), divided by their sums."""
    floored = mapped.clamp(FLOOR, 1.0)
    return (floored / floored.sum(dim=1, keepdim=True)).log()


def step_curve(edges: np.ndarray, value_at: Any) -> Curve:
    """The steps of a function that is constant between `edges`, taken at the middle of every cell of 0..1."""
    knots = np.unique(edges)
    knots = knots[(knots > 0) & (knots < 1)]
    bounds = np.concatenate([[0.0], knots, [1.0]])
    values = np.asarray(value_at((bounds[:-1] + bounds[1:]) / 2), dtype=np.float64).reshape(-1)
    return (knots, values) if len(knots) else (np.array([1.0]), np.repeat(values, 2))


def _constant(hit: bool, linear: bool) -> Curve:
    """The curve of a class that is always, or never, the label."""
    return np.array([1.0]), np.full(1 if linear else 2, float(hit))


def _cells(knots: Tensor, points: Tensor) -> Tensor:
    """The number of knots (K, M) below each of `points` (K, N); ONNX has no search, so an export counts instead."""
    if tracing():
        return (points[:, :, None] > knots[:, None, :]).sum(dim=2)
    return torch.searchsorted(knots, points)


def _steps(knots: Tensor, values: Tensor, points: Tensor) -> Tensor:
    """Values (K, N) of right-closed steps at `points` (K, N)."""
    return values.gather(1, _cells(knots, points))


def _pieces(knots: Tensor, values: Tensor, points: Tensor) -> Tensor:
    """Values (K, N) of straight pieces at `points` (K, N), constant outside the knots."""
    right = _cells(knots, points).clamp(max=knots.shape[1] - 1)
    left = (right - 1).clamp_min(0)
    start, end = knots.gather(1, left), knots.gather(1, right)
    share = ((points - start) / (end - start).clamp_min(1e-30)).clamp(0, 1)
    return values.gather(1, left).lerp(values.gather(1, right), share)
