"""Ensemble of near-isotonic regressions, one-vs-rest."""

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from netcal.binning import ENIR as NetcalENIR  # noqa: N811 (an acronym, not a constant)
from netcal.binning import NearIsotonicRegression

from calbench.methods.base import register
from calbench.methods.calibrators._one_vs_rest import Curve, OneVsRest, step_curve


@register("enir", label="ENIR", paper="naeini2016binary")
@dataclass
class ENIR(OneVsRest):
    """q_k = an average of near-isotonic regressions of p_k, weighted by their ``score``. One-vs-rest; by netcal.

    netcal sorts the samples by p_k, and its paths depend on the order of equal ones. They are handed over with those of
    the class first, so that the order of the rows has no effect and a run of equal p_k is pooled.
    No default grid: ``score`` has two values.

    Naeini and Cooper 2016, arXiv 1511.05191.
    """

    score: Literal["bic", "aic"] = "bic"

    def fit_curve(self, probabilities: np.ndarray, hits: np.ndarray) -> Curve:
        """The steps of one class."""
        order = np.lexsort((~hits, probabilities))
        probabilities, hits = probabilities[order], hits[order]
        model = NetcalENIR(score_function=self.score)
        try:
            model.fit(probabilities, hits.astype(int))
        except ValueError:  # separable: netcal's path ends at its first model, which it then discards
            first = NearIsotonicRegression()
            first.fit(probabilities, hits.astype(int))
            return step_curve(cast("Any", first)._group_bounds.ravel(), first.transform)
        edges = np.concatenate([cast("Any", regression)._group_bounds.ravel() for regression in model._binning_models])
        return step_curve(edges, model.transform)
