"""Ensemble of near-isotonic regressions, one-vs-rest."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from netcal.binning import ENIR as NetcalENIR  # noqa: N811 (an acronym, not a constant)

from .base import register
from .one_vs_rest import Curve, OneVsRest, step_curve


@register("enir", label="ENIR", paper="naeini2016binary")
@dataclass
class ENIR(OneVsRest):
    """q_k = an average of near-isotonic regressions of p_k, weighted by their ``score``. One-vs-rest; by netcal.

    Naeini and Cooper 2016, arXiv 1511.05191.
    """

    score: Literal["bic", "aic"] = "bic"

    def fit_curve(self, probabilities: np.ndarray, hits: np.ndarray) -> Curve:
        """The steps of one class; that of the share of the class where netcal finds no model."""
        model = NetcalENIR(score_function=self.score)
        try:
            model.fit(probabilities, hits.astype(int))
        except ValueError:
            return np.array([1.0]), np.full(2, hits.mean())
        edges = np.concatenate([regression._group_bounds.ravel() for regression in model._binning_models])
        return step_curve(edges, model.transform)
