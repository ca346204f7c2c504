"""The temperature with the lowest NLL, by Newton's method."""

import math
import warnings

from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from calbench.methods.solvers.nll import margins, slope_and_curvature, typical_gap

SHARPEST = 250.0
"""Typical gaps to the true class, per temperature, at which the fit of separable data ends: all mass is on one."""

FLATTEST = 1e-4
"""Typical gaps per temperature at which the fit ends where flatter is always better: the mass is spread evenly."""

OUTLYING = 1e3
"""Typical gaps that a true class lies below the largest logit from which on a row is named as the cause of a bound."""

FARTHEST = 1e12
"""Typical gaps per temperature beyond which no search goes."""

SUBSAMPLE_ELEMENTS = 100_000
"""Below twice as many elements a subsample saves nothing."""

EXACT_ELEMENTS = 2**18
"""Elements of the logits up to which arithmetic in float64 costs nothing to speak of."""

CLOSE = 1e-4
"""The last step in log T, relative: Newton's method is quadratic, so what is left is of the order of its square."""


def optimal_temperature(logits: Tensor, labels: Tensor, weights: Tensor | None = None, *, stacklevel: int = 4) -> float:
    """The T > 0 that minimises the mean NLL of softmax(z / T).

    A subsample of rows finds the neighbourhood; two or three passes over all rows finish. The search starts from, and
    is bounded in, typical gaps between the true class and its largest rival (`typical_gap`), so neither the magnitude
    of the logits nor a masked class changes where it ends. Only where no finite T is optimal does a bound end it, with
    a `ConvergenceWarning`.

    Args:
        logits: checked logits (N, K).
        labels: labels (N,).
        weights: weights of the rows (N,), not negative, or None where all count once.
        stacklevel: of the warnings, as seen from this function.
    """
    if weights is not None:
        used = weights > 0
        logits, labels, weights = logits[used], labels[used], weights[used].double()
        weights = weights / weights.mean()
    if logits.numel() <= EXACT_ELEMENTS:
        logits = logits.double()
    step = max(1, min(10, logits.numel() // SUBSAMPLE_ELEMENTS))
    unit = typical_gap(logits[::step], labels[::step]) or typical_gap(logits, labels)
    if unit == 0:
        message = "every row of logits is constant: any temperature fits, T = 1"
        warnings.warn(message, ConvergenceWarning, stacklevel=stacklevel)
        return 1.0
    beta = min(max(1.0, 0.3 / unit), 10 / unit)
    if step > 1:
        few = None if weights is None else weights[::step]
        beta, _ = _newton(logits[::step], labels[::step], few, unit, beta)
    beta, bound = _newton(logits, labels, weights, unit, beta)
    if bound:
        warnings.warn(f"{bound}: T is bounded at {1 / beta:.4g}", ConvergenceWarning, stacklevel=stacklevel)
    return 1 / beta


def power_of_ten(temperature: float) -> float:
    """The unit for what is made for temperatures near 1: 1 within 0.1..10, else the power of ten below."""
    return 1.0 if 0.1 <= temperature <= 10 else 10.0 ** math.floor(math.log10(temperature))


def _newton(logits: Tensor, labels: Tensor, weights: Tensor | None, unit: float, beta: float) -> tuple[float, str]:
    """Newton's method in log beta, kept inside a shrinking bracket, and the reason where a bound ended it."""
    low, high = FLATTEST / unit, FARTHEST / unit
    separable = None
    for _ in range(100):
        slope, curvature = slope_and_curvature(logits, labels, beta, weights)
        sharper = slope < 0 or (slope == 0 and curvature == 0)  # all mass on the labels, down to the last bit
        low, high = (beta, high) if sharper else (low, beta)
        if sharper and beta * unit >= SHARPEST / 10 and separable is None:
            separable = bool((margins(logits, labels) >= 0).all())
            if separable:
                return SHARPEST / unit, "the model separates the calibration split"
        if high <= 1.01 * FLATTEST / unit:
            return FLATTEST / unit, _reason_for_flatness(logits, labels, unit)
        if low >= FARTHEST / (1.01 * unit):
            return beta, "the model all but separates the calibration split"
        target = _next(beta, slope, curvature, low, high)
        change, beta = abs(math.log(target / beta)), target
        if change < CLOSE:
            break
    return beta, ""


def _reason_for_flatness(logits: Tensor, labels: Tensor, unit: float) -> str:
    """Why no temperature is high enough."""
    outlying = int((margins(logits, labels) < -OUTLYING * unit).sum())
    if outlying:
        return f"the true class lies {OUTLYING:,.0f} typical gaps below the largest logit, or more, in {outlying} rows"
    return "the model ranks the calibration split no better than chance"


def _next(beta: float, slope: float, curvature: float, low: float, high: float) -> float:
    """Newton's step in log beta, cut to a factor of e^2; the middle of the bracket where it leads out."""
    second = beta * (curvature * beta + slope)
    step = -beta * slope / second if second > 0 else (1.0 if slope < 0 else -1.0)
    if slope <= 0 and curvature * beta <= -slope * 1e-9:  # a long slope, which Newton would walk down in small steps
        step = 2.0
    target = beta * math.exp(max(-2.0, min(2.0, step)))
    return target if low <= target <= high else math.sqrt(low * high)
