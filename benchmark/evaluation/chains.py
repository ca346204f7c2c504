"""Chains of calibrators: fitted one after the other, applied one after the other, each fitted once in a cell."""

import warnings
from typing import NamedTuple

from torch import Tensor

from calbench.benchmark.predictions.predictions import SplitPredictions
from calbench.methods import Calibrator

Chain = tuple[Calibrator, ...]

_OF_LIBRARIES = (DeprecationWarning, PendingDeprecationWarning, FutureWarning, ImportWarning, ResourceWarning)
"""Categories of warnings that concern the code of libraries, not a fit."""


class Fitted(NamedTuple):
    """A fitted chain.

    Attributes:
        chain: the fitted calibrators, in their order.
        warnings: what the fits warned of, sorted, each once.
    """

    chain: list[Calibrator]
    warnings: list[str]


class Fits:
    """The fits of a cell: its shifted splits are evaluated with the calibrators that its test split is evaluated with.

    Example:
        >>> import calbench as cb, torch
        >>> part = SplitPredictions(torch.eye(3).repeat(2, 1), torch.tensor([0, 1, 2, 1, 1, 2]))
        >>> fits, chain = Fits(), (cb.TemperatureScaling(),)
        >>> fits.fit(chain, part, "last") is fits.fit(chain, part, "last")
        True
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Fitted] = {}

    def fit(self, chain: Chain, part: SplitPredictions, where: str) -> Fitted:
        """The chain fitted on `part`.

        Args:
            chain: calibrators, which stay as they are.
            part: predictions to fit on.
            where: what tells `part` from the cell's other predictions, such as its checkpoint rule.

        Raises:
            ValueError: a calibrator cannot be fitted on these predictions; the message says why.
        """
        key = repr([calibrator.identity() for calibrator in chain]), where
        if key not in self._known:
            self._known[key] = fit_with_warnings(chain, part)
        return self._known[key]


def fit_with_warnings(chain: Chain, part: SplitPredictions) -> Fitted:
    """`fit_chain`, with the warnings of the fits but for those about the code of libraries."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fitted = fit_chain(chain, part)
    return Fitted(fitted, sorted({str(one.message) for one in caught if not issubclass(one.category, _OF_LIBRARIES)}))


def fit_chain(chain: Chain, part: SplitPredictions) -> list[Calibrator]:
    """Fit fresh copies one after the other, each on the logits that those before it give."""
    fitted = []
    for calibrator in chain:
        copy = type(calibrator)(**calibrator.options())
        copy.fit(part.logits, part.labels, **_extra(copy, part))
        part = apply_chain([copy], part)
        fitted.append(copy)
    return fitted


def apply_chain(fitted: list[Calibrator], part: SplitPredictions) -> SplitPredictions:
    """The predictions that a fitted chain gives for a split."""
    if not fitted:
        return part
    logits = part.logits
    for calibrator in fitted:
        logits = calibrator.transform(logits, **_extra(calibrator, part))
    return SplitPredictions(logits, part.labels, part.features, part.temperature, part.posterior)


def _extra(calibrator: Calibrator, part: SplitPredictions) -> dict[str, Tensor]:
    if "features" not in calibrator.needs:
        return {}
    if part.features is None:
        raise ValueError(f"{calibrator.spec.name} needs pooled features, and these predictions have none")
    return {"features": part.features}
