"""How simple a fitted calibrator is: the number of values that its fit determines."""

import math
import warnings
from collections.abc import Sequence

from torch import Tensor, nn

from calbench.benchmark.evaluation.chains import Fits
from calbench.benchmark.predictions.predictions import SplitPredictions
from calbench.methods import Calibrator


def fitted_values(calibrators: Sequence[Calibrator]) -> float:
    """The number of values of fitted calibrators: 1 for a temperature, two a class for vector scaling, knots, weights.

    Infinite where a fitted value is not made of numbers.

    Example:
        >>> import calbench as cb, torch
        >>> logits, labels = torch.eye(3).repeat(2, 1), torch.tensor([0, 1, 2, 1, 1, 2])
        >>> [fitted_values([one.fit(logits, labels)]) for one in (cb.TemperatureScaling(), cb.VectorScaling())]
        [1.0, 6.0]
    """
    return float(sum(_size(value) for calibrator in calibrators for value in calibrator.fitted().values()))


def _size(value: object) -> float:
    if isinstance(value, nn.Module):
        return sum(part.numel() for part in value.state_dict().values())
    if isinstance(value, Tensor):
        return value.numel()
    return 1 if isinstance(value, int | float) else math.inf


def values_of_a_fit(chain: Sequence[Calibrator], part: SplitPredictions, fits: Fits | None = None) -> float:
    """`fitted_values` of a chain fitted on predictions; infinite where it cannot be fitted.

    Args:
        chain: calibrators, which stay as they are.
        part: predictions to fit on.
        fits: those that are known already, of ``part`` under the name ``last``.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return fitted_values((fits or Fits()).fit(tuple(chain), part, "last").chain)
        except Exception:  # a calibrator may fail in any way; that it did is in the record
            return math.inf
